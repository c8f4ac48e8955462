-- What was said and seen in an episode, turn by turn?
-- $trajectory_id: an episode, such as one of `trajectories_of_sample`
select
    turns.turn,
    turns.text,
    turns.action,
    tool_calls.tool,
    turns.observation_status as status,
    tool_calls.error_class,
    turns.observation,
    turns.image_sha256,
    call_timings.latency_s,
    call_timings.cost_usd
from turns
left join tool_calls using (trajectory_id, turn)
left join call_timings using (trajectory_id, turn)
where turns.trajectory_id = $trajectory_id
order by turns.turn;
