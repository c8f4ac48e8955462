-- Which samples does the base policy solve with tools, but never without?
select
    samples.sample_id,
    samples.family,
    samples.difficulty,
    count(*) filter (probes.mode = 'direct' and probes.is_needed) as direct_attempts,
    count(*) filter (probes.mode = 'agent' and probes.is_needed) as agent_attempts,
    count(*) filter (probes.mode = 'agent' and probes.verdict = 'correct') as agent_correct,
    samples.pool,
    samples.question
from samples
join probes using (sample_id)
group by all
having
    agent_correct > 0
    and count(*) filter (probes.mode = 'direct' and probes.verdict = 'correct') = 0
order by samples.family, agent_correct desc, samples.sample_id;
