-- What did a source row touch: sample, pool, episodes, checkpoints, scores?
-- $source: name of a source, such as one of `select distinct source from source_rows`
-- $row: row within it, as in source_rows.source_row_id
with touched as (
    select sample_id, split
    from source_rows
    where source = $source and source_row_id = $row
),
episodes as (
    select
        trajectory_id,
        stage,
        policy,
        verdict,
        num_calls,
        is_selected
    from trajectories
    where sample_id in (select sample_id from touched)
),
found as (
    select
        0 as level,
        'sample' as kind,
        samples.sample_id as id,
        concat_ws(' ', touched.split, samples.family,
            case when samples.is_curated then 'curated' end, 'pool ' || samples.pool) as detail
    from touched
    join samples using (sample_id)
    union all
    select
        1,
        'rejection',
        row_id,
        concat_ws(' ', 'by', stage || ':', reason, evidence)
    from rejections
    where row_id = $source || ':' || $row
        or row_id in (select sample_id from touched)
        or row_id in (select trajectory_id from episodes)
    union all
    select
        2,
        'probe',
        mode,
        concat_ws(' ', count(*) filter (is_needed), 'attempts,',
            count(*) filter (verdict = 'correct'), 'correct')
    from probes
    where sample_id in (select sample_id from touched)
    group by mode
    union all
    select
        3,
        'trajectories',
        stage,
        concat_ws(' ', count(*), 'by', policy || ',', count(*) filter (verdict = 'correct'),
            'correct,', sum(num_calls), 'calls,', count(*) filter (is_selected), 'selected')
    from episodes
    group by stage, policy
    union all
    select
        4,
        'checkpoint',
        name,
        concat_ws(' ', 'learned from', num_trajectories, 'of its trajectories')
    from checkpoint_samples
    where sample_id in (select sample_id from touched)
    union all
    select
        5,
        'score',
        concat_ws('/', model, suite, mode),
        concat_ws(' ', verdict, 'by rule', rule)
    from evaluations
    where sample_id in (select sample_id from touched)
)
select
    level,
    kind,
    id,
    detail
from found
order by level, kind, id, detail;
