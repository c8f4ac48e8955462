-- Where does a score come from: checkpoint, what it learned from, samples, source rows?
-- $trajectory_id: an episode, such as one of `select trajectory_id from evaluations`
with recursive ancestors as (
    select
        0 as depth,
        checkpoints.name,
        checkpoints.checkpoint_id,
        checkpoints.stage,
        checkpoints.step,
        checkpoints.parent
    from checkpoints
    join trajectories on trajectories.policy = checkpoints.checkpoint_id
    where trajectories.trajectory_id = $trajectory_id
    union
    select
        ancestors.depth + 1,
        checkpoints.name,
        checkpoints.checkpoint_id,
        checkpoints.stage,
        checkpoints.step,
        checkpoints.parent
    from ancestors
    join checkpoints on checkpoints.checkpoint_id = ancestors.parent
    where ancestors.depth < 16 and ancestors.parent <> ancestors.checkpoint_id
),
chain as (
    select
        min(depth) as depth,
        name,
        any_value(checkpoint_id) as checkpoint_id,
        any_value(stage) as stage,
        any_value(step) as step
    from ancestors
    group by name
),
asked as (
    select
        trajectory_id,
        sample_id,
        stage,
        policy,
        verdict
    from trajectories
    where trajectory_id = $trajectory_id
),
learned as (
    select
        chain.depth,
        chain.name,
        trajectories.sample_id,
        count(*) as num_trajectories,
        count(*) filter (trajectories.verdict = 'correct') as num_correct
    from chain
    join checkpoint_trajectories using (name)
    join trajectories using (trajectory_id)
    group by chain.depth, chain.name, trajectories.sample_id
),
found as (
    select
        0 as level,
        'score' as kind,
        concat_ws('/', evaluations.model, evaluations.suite, evaluations.mode) as id,
        concat_ws(' ', evaluations.verdict, 'by rule', evaluations.rule) as detail
    from evaluations
    where evaluations.trajectory_id = $trajectory_id
    union all
    select
        1,
        'trajectory',
        trajectory_id,
        concat_ws(' ', stage, 'by', policy, verdict)
    from asked
    union all
    select
        1,
        'question',
        asked.sample_id,
        concat_ws(' ', 'row', source_rows.source || ':' || source_rows.source_row_id,
            'of', source_rows.split)
    from asked
    join source_rows using (sample_id)
    union all
    select
        2 + 2 * depth,
        'checkpoint',
        name,
        concat_ws(' ', checkpoint_id, 'made by', stage, 'in', step, 'steps')
    from chain
    union all
    select
        3 + 2 * learned.depth,
        'learned from',
        learned.sample_id,
        concat_ws(' ', learned.num_trajectories, 'trajectories,', learned.num_correct,
            'correct; row', source_rows.source || ':' || source_rows.source_row_id)
    from learned
    left join source_rows using (sample_id)
)
select
    level,
    kind,
    id,
    detail
from found
order by level, kind desc, id, detail;
