-- What does each model score, by family and need?
select
    model,
    suite,
    mode,
    family,
    need,
    count(*) filter (verdict <> 'ungraded' and stop_reason <> 'infrastructure') as num_graded,
    round(
        avg((verdict = 'correct')::integer)
            filter (verdict <> 'ungraded' and stop_reason <> 'infrastructure'),
        3
    ) as accuracy,
    round(avg(num_calls), 2) as calls_per_answer
from evaluations
group by model, suite, mode, family, need
order by model, suite, mode, family, need;
