-- How much did the episodes of each stage take, in turns, tokens and calls?
with models as (
    -- One episode may answer for several suites; it was run once.
    select trajectory_id, model, bool_or(rule = 'judge') as is_judged
    from evaluations
    group by trajectory_id, model
),
searches as (
    select trajectory_id, count(*) as num_searches
    from tool_calls
    where tool <> 'python'
    group by trajectory_id
)
select
    coalesce('evaluate-' || models.model, trajectories.stage) as run,
    count(*) as num_episodes,
    sum(trajectories.num_turns)::bigint as num_turns,
    sum(trajectories.num_tokens)::bigint as num_tokens,
    sum(trajectories.num_calls)::bigint as num_calls,
    sum(coalesce(searches.num_searches, 0))::bigint as num_searches,
    sum(trajectories.num_failed_calls)::bigint as num_failed_calls,
    count(*) filter (where models.is_judged) as num_judged
from trajectories
left join models using (trajectory_id)
left join searches using (trajectory_id)
group by run
order by run;
