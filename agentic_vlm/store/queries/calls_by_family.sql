-- How often does each model call each tool, and how often does a call fail, by family?
select
    evaluations.model,
    evaluations.family,
    tool_calls.tool,
    count(*) as num_calls,
    round(avg((tool_calls.status <> 'ok')::integer), 3) as failed_share,
    round(count(*) / count(distinct evaluations.trajectory_id), 2) as calls_per_episode
from evaluations
join tool_calls using (trajectory_id)
group by all
order by evaluations.model, evaluations.family, tool_calls.tool;
