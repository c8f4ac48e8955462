-- A resumed stage may have logged a call twice; the last line counts.
select
    trajectory_id,
    turn,
    arg_max(tool, line) as tool,
    arg_max(latency_s, line) as latency_s,
    arg_max(run, line) as run
from source_latency
group by trajectory_id, turn
