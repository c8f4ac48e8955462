-- What does each model score by ability, in the columns of RealX-Bench?
with answers as (
    select
        if(mode = 'agent', model, model || '_' || mode) as arm,
        list_intersect(flags, ['perception', 'reason', 'search']) as abilities,
        case verdict when 'correct' then 1.0 when 'incorrect' then 0.0 end as is_right
    from evaluations
),
columns as (
    select
        arm,
        is_right,
        unnest(['average'] || abilities || if(len(abilities) = 3, ['integration'], [])) as ability
    from answers
    where len(abilities) > 0
)
select
    arm,
    ability,
    avg(is_right) as accuracy,
    count(is_right) as n
from columns
group by arm, ability
order by arm, ability;
