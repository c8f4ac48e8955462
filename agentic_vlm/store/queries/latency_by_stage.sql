-- How long do tool calls take in each run of a stage, by tool?
select
    run,
    tool,
    count(*) as num_calls,
    round(quantile_cont(latency_s, 0.5), 4) as p50_s,
    round(quantile_cont(latency_s, 0.95), 4) as p95_s,
    round(sum(latency_s), 1) as total_s
from call_timings
group by run, tool
order by run, tool;
