-- How do reward, calls and failed calls move over the steps of RL?
select
    rollout_steps.step,
    count(*) as num_rollouts,
    round(avg(rollout_steps.reward), 3) as mean_reward,
    round(avg((trajectories.verdict = 'correct')::integer), 3) as solved_share,
    round(avg(trajectories.num_calls), 3) as calls_per_rollout,
    round(avg(trajectories.num_failed_calls), 3) as failed_calls_per_rollout,
    round(avg((trajectories.stop_reason = 'infrastructure')::integer), 3) as left_out_share
from rollout_steps
join trajectories using (trajectory_id)
group by rollout_steps.step
order by rollout_steps.step;
