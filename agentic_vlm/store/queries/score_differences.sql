-- By how much do two models differ on the samples that both answered, and is it chance?
with rates as (
    select
        if(mode = 'agent', model, model || '_' || mode) as arm,
        need,
        suite,
        sample_id,
        avg((verdict = 'correct')::integer) as rate
    from evaluations
    where verdict <> 'ungraded'
    group by arm, need, suite, sample_id
),
pairs as (
    select
        first.arm as arm,
        second.arm as minus_arm,
        first.need,
        first.rate - second.rate as gain
    from rates as first
    join rates as second using (suite, sample_id)
    where first.arm <> second.arm
),
counts as (
    select
        arm,
        minus_arm,
        if(grouping(need) = 1, 'all', need) as questions,
        avg(gain) as difference,
        count(*) as n,
        count(*) filter (gain > 0) as num_gained,
        count(*) filter (gain < 0) as num_lost
    from pairs
    group by grouping sets ((arm, minus_arm), (arm, minus_arm, need))
)
select
    *,
    -- McNemar's exact test: both tails of a fair coin thrown once per sample that moved.
    least(1.0, 2 * list_sum(list_transform(
        range(least(num_gained, num_lost) + 1),
        lambda k: exp(
            lgamma(num_gained + num_lost + 1) - lgamma(k + 1)
            - lgamma(num_gained + num_lost - k + 1) - (num_gained + num_lost) * ln(2)
        )
    ))) as p
from counts
order by arm, minus_arm, questions;
