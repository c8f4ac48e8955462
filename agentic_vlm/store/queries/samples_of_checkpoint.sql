-- Which samples and source rows did a checkpoint learn from, without its parents?
-- $name: a checkpoint, such as sft or rl
select
    checkpoint_samples.sample_id,
    source_rows.source,
    source_rows.source_row_id,
    samples.family,
    checkpoint_samples.num_trajectories,
    checkpoint_samples.num_correct
from checkpoint_samples
left join source_rows using (sample_id)
left join samples using (sample_id)
where checkpoint_samples.name = $name
order by checkpoint_samples.sample_id, source_rows.source, source_rows.source_row_id;
