-- What did each episode cost, in turns, tokens, calls, seconds of tools and money, and was a judge asked?
-- $stage: a stage, such as evaluate; % for all
with models as (
    select trajectory_id, string_agg(distinct model, ', ' order by model) as model,
        bool_or(rule = 'judge') as is_judged
    from evaluations
    group by trajectory_id
),
searches as (
    select trajectory_id, count(*) as num_searches
    from tool_calls
    where tool <> 'python'
    group by trajectory_id
),
waits as (
    select trajectory_id, sum(latency_s) as tool_s, sum(cost_usd) as tool_usd
    from call_timings
    group by trajectory_id
)
select
    trajectories.stage,
    models.model,
    trajectory_id,
    trajectories.sample_id,
    trajectories.verdict,
    trajectories.num_turns,
    trajectories.num_tokens,
    trajectories.num_calls,
    coalesce(searches.num_searches, 0) as num_searches,
    trajectories.num_failed_calls,
    coalesce(models.is_judged, false) as is_judged,
    round(waits.tool_s, 4) as tool_s,
    round(waits.tool_usd, 6) as tool_usd
from trajectories
left join models using (trajectory_id)
left join searches using (trajectory_id)
left join waits using (trajectory_id)
where trajectories.stage like $stage
order by coalesce(waits.tool_usd, 0) desc, trajectories.num_tokens desc, trajectory_id;
