-- A resumed stage, or an episode that was tried again, may have logged a call twice: the last line
-- counts, but all of them were paid.
select
    trajectory_id,
    turn,
    arg_max(tool, line) as tool,
    arg_max(latency_s, line) as latency_s,
    sum(cost_usd) as cost_usd,
    arg_max(run, line) as run
from source_latency
group by trajectory_id, turn
