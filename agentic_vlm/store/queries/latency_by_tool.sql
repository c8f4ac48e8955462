-- How long do tool calls take and what do they cost, by tool?
select
    tool,
    count(*) as num_calls,
    round(quantile_cont(latency_s, 0.5), 4) as p50_s,
    round(quantile_cont(latency_s, 0.95), 4) as p95_s,
    round(quantile_cont(latency_s, 0.99), 4) as p99_s,
    round(max(latency_s), 4) as max_s,
    round(sum(cost_usd), 4) as total_usd
from call_timings
group by tool
order by tool;
