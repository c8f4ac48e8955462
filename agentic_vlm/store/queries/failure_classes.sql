-- Which errors do tool calls run into, by stage, policy and tool?
with calls as (
    select
        trajectories.stage,
        coalesce(checkpoints.name, trajectories.policy) as policy,
        tool_calls.tool,
        tool_calls.status,
        tool_calls.error_class
    from tool_calls
    join trajectories using (trajectory_id)
    left join (
        select checkpoint_id, min(name) as name from checkpoints group by checkpoint_id
    ) as checkpoints
        on checkpoints.checkpoint_id = trajectories.policy
)
select
    stage,
    policy,
    tool,
    status,
    error_class,
    count(*) as num_calls,
    round(count(*) / sum(count(*)) over (partition by stage, policy, tool), 3) as share_of_calls
from calls
group by stage, policy, tool, status, error_class
qualify status <> 'ok'
order by num_calls desc, stage, policy, tool, status, error_class;
