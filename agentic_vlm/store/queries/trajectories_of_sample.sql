-- Which episodes tried a sample, and how did they end?
-- $sample_id: a sample, such as one of `select sample_id from samples`
select
    trajectories.trajectory_id,
    trajectories.stage,
    coalesce(checkpoints.name, trajectories.policy) as policy,
    trajectories.mode,
    trajectories.attempt,
    rollout_steps.step as rl_step,
    trajectories.num_turns,
    trajectories.num_calls,
    trajectories.num_failed_calls,
    trajectories.stop_reason,
    trajectories.answer,
    trajectories.verdict,
    trajectories.is_selected
from trajectories
left join rollout_steps using (trajectory_id)
left join (
    select checkpoint_id, min(name) as name from checkpoints group by checkpoint_id
) as checkpoints
    on checkpoints.checkpoint_id = trajectories.policy
where trajectories.sample_id = $sample_id
order by trajectories.stage, policy, trajectories.mode, trajectories.attempt;
