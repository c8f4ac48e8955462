-- What did each run of a stage cost, in seconds, memory, episodes, tokens, calls and money?
with models as (
    -- One episode may answer for several suites; it was run once.
    select distinct trajectory_id, model
    from evaluations
),
searches as (
    select trajectory_id, count(*) as num_searches
    from tool_calls
    where tool <> 'python'
    group by trajectory_id
),
work as (
    select
        coalesce('evaluate-' || models.model, trajectories.stage) as run,
        count(*) as num_episodes,
        sum(trajectories.num_tokens) as num_tokens,
        sum(trajectories.num_calls) as num_calls,
        sum(coalesce(searches.num_searches, 0)) as num_searches
    from trajectories
    left join models using (trajectory_id)
    left join searches using (trajectory_id)
    group by run
),
waits as (
    select
        run,
        sum(latency_s) as tool_s,
        sum(cost_usd) as tool_usd
    from call_timings
    group by run
)
select
    run,
    runs.started_at,
    runs.wall_s,
    runs.cpu_s,
    runs.gpu_s,
    runs.peak_memory_mb,
    runs.num_in,
    runs.num_out,
    work.num_episodes,
    work.num_tokens,
    work.num_calls,
    work.num_searches,
    round(waits.tool_s, 1) as tool_s,
    round(waits.tool_usd, 4) as tool_usd,
    round(work.num_tokens / runs.wall_s, 1) as tokens_per_s
from runs
full join work using (run)
left join waits using (run)
order by runs.started_at nulls last, run;
