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
        name,
        count(*) as num_samples,
        sum(num_trajectories) as num_trajectories
    from checkpoint_samples
    where name in (select name from chain)
    group by name
),
-- The first ones; samples_of_checkpoint lists all.
listed as (
    select
        chain.depth,
        checkpoint_samples.sample_id,
        checkpoint_samples.num_trajectories,
        checkpoint_samples.num_correct
    from chain
    join checkpoint_samples using (name)
    qualify row_number() over (partition by name order by checkpoint_samples.sample_id) <= 20
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
        2 + 2 * chain.depth,
        'checkpoint',
        chain.name,
        concat_ws(' ', chain.checkpoint_id, 'made by', chain.stage, 'in', chain.step, 'steps',
            'from ' || learned.num_trajectories || ' trajectories of ' || learned.num_samples
            || ' samples')
    from chain
    left join learned using (name)
    union all
    select
        3 + 2 * listed.depth,
        'learned from',
        listed.sample_id,
        concat_ws(' ', listed.num_trajectories, 'trajectories,', listed.num_correct,
            'correct; row', source_rows.source || ':' || source_rows.source_row_id)
    from listed
    left join source_rows using (sample_id)
)
select
    level,
    kind,
    id,
    detail
from found
order by level, kind desc, id, detail;
