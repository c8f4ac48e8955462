-- What does each model score, by kind of question and by family, as the report shows it?
with answers as (
    select
        *,
        if(mode = 'agent', model, model || '_' || mode) as arm,
        -- Outages of ours are in no mean; an answer without a verdict is in no accuracy.
        case verdict when 'correct' then 1.0 when 'incorrect' then 0.0 end as is_right,
        stop_reason <> 'infrastructure' as is_ours
    from evaluations
),
shares as (
    select
        arm,
        if(grouping(need) = 1, 'all', need) as questions,
        if(grouping(family) = 1, 'all', family) as family,
        avg(is_right) as accuracy,
        count(is_right) as n,
        count(*) - count(is_right) as num_ungraded,
        avg((num_calls > 0)::integer) filter (is_ours) as tool_rate,
        avg(num_calls) filter (is_ours) as calls,
        avg(num_failed_calls) filter (is_ours) as failed_calls,
        avg(num_tokens) filter (is_ours) as tokens
    from answers
    group by grouping sets ((arm), (arm, need), (arm, family))
),
-- Wilson's interval at 95 %: 1.959964 is the normal quantile.
wilson as (
    select
        *,
        1.959964 ** 2 / n as z,
        1.959964 * sqrt(accuracy * (1 - accuracy) / n + (1.959964 / 2 / n) ** 2) as half
    from shares
)
select
    arm,
    questions,
    family,
    accuracy,
    (accuracy + z / 2 - half) / (1 + z) as low,
    (accuracy + z / 2 + half) / (1 + z) as high,
    n,
    num_ungraded,
    tool_rate,
    calls,
    failed_calls,
    tokens
from wilson
order by arm, questions, family;
