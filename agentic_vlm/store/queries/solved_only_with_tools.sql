-- Which samples does the base policy solve with tools, but never without?
with attempts as (
    select
        sample_id,
        count(*) filter (mode = 'direct' and is_needed) as direct_attempts,
        count(*) filter (mode = 'direct' and verdict = 'correct') as direct_correct,
        count(*) filter (mode = 'agent' and is_needed) as agent_attempts,
        count(*) filter (mode = 'agent' and verdict = 'correct') as agent_correct
    from probes
    group by sample_id
)
select
    samples.sample_id,
    samples.family,
    samples.difficulty,
    attempts.direct_attempts,
    attempts.agent_attempts,
    attempts.agent_correct,
    samples.pool,
    samples.question
from attempts
join samples using (sample_id)
where attempts.agent_correct > 0 and attempts.direct_correct = 0
order by samples.family, attempts.agent_correct desc, samples.sample_id;
