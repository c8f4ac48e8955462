-- The cold start learns from what select_sft kept, RL from what its parent sampled.
with learned as (
    select checkpoints.name, trajectories.sample_id, trajectories.verdict
    from checkpoints
    join trajectories on checkpoints.stage = 'train_sft' and trajectories.is_selected
    union all
    select checkpoints.name, trajectories.sample_id, trajectories.verdict
    from checkpoints
    join trajectories on trajectories.policy = checkpoints.parent
    where checkpoints.stage = 'train_rl' and trajectories.stage = 'train_rl'
)
select
    name,
    sample_id,
    count(*) as num_trajectories,
    count(*) filter (verdict = 'correct') as num_correct
from learned
group by name, sample_id
order by name, sample_id
