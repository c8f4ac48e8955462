"""Each number of the findings as SQL over the tables of the grid.

Written from the words of a claim and not from the code that judges it, so that one checks the
other. Intervals are not in it: they are the bootstrap of the differences that it averages.
"""

from agentic_vlm.analysis.claims import Arm, Claim, Measure

_KINDS = {
    Measure.CROP_SHARE: ("crop",),
    Measure.COMPUTE_SHARE: ("numerical",),
    Measure.SEARCH_SHARE: ("text_search", "image_search"),
    Measure.HOLLOW_CALLS: ("placeholder", "redisplay"),
}
_VALUES = {
    Measure.ACCURACY: "case verdict when 'correct' then 1.0 when 'incorrect' then 0.0 end",
    Measure.TOOL_RATE: "if(num_calls > 0, 1.0, 0.0)",
    Measure.CALLS: "num_calls::double",
    Measure.FAILED_CALLS: "num_failed_calls::double",
    Measure.TOKENS: "num_tokens::double",
}

EXPERIMENTS = """\
-- What did each model of each experiment score, by kind of question?
select
    experiment,
    arm,
    coalesce(need, 'all') as questions,
    avg(case verdict when 'correct' then 1.0 when 'incorrect' then 0.0 end) as accuracy,
    count(*) filter (where verdict <> 'ungraded') as n,
    avg(num_calls) filter (where stop_reason <> 'infrastructure') as calls,
    avg(if(num_calls > 0, 1.0, 0.0)) filter (where stop_reason <> 'infrastructure') as tool_rate
from read_parquet('{tables}/answers.parquet')
group by grouping sets ((experiment, arm, need), (experiment, arm))
order by all;
"""
KINDS = """\
-- What are the calls of `grpo` for, by family, cold start against RL?
with calls as (
    select family, arm, unnest(kinds) as kind
    from read_parquet('{tables}/answers.parquet')
    where variant = 'grpo' and arm in ('sft', 'rl')
)
select
    family,
    arm,
    kind,
    count(*) as num_calls,
    count(*) / sum(count(*)) over (partition by family, arm) as share
from calls
group by family, arm, kind
order by all;
"""
STEP_MEANS = """\
    avg(reward) as reward,
    avg(accuracy) as accuracy,
    avg(format) as format,
    avg(calls) as calls,
    avg(failed_calls) as failed_calls,
    avg(tokens) as tokens,
    avg(surprisal) as surprisal,
    avg(flat_groups) as flat_groups"""
"""What a step of RL looked like, as a mean over rows of `rl_steps`."""
TRAINING = f"""\
-- How did RL go, by variant and step, over the experiments of the variant?
select
    variant,
    step,
{STEP_MEANS}
from read_parquet('{{tables}}/rl_steps.parquet')
where family = 'all'
group by variant, step
order by all;
"""


def _ends(*, by: str, rows: str) -> str:
    """Return the common table `ends`: the first and last five steps of RL, each with its part."""
    return f"""\
with ranked as (
    select
        *,
        row_number() over (partition by {by} order by step) as from_first,
        row_number() over (partition by {by} order by step desc) as from_last
    from read_parquet('{{tables}}/rl_steps.parquet')
    where {rows}
),
ends as (
    select *, 'first' as part from ranked where from_first <= 5
    union all
    select *, 'last' as part from ranked where from_last <= 5
)
"""


TRAINING_ENDS = f"""\
-- What did RL look like in its first and last five steps, by experiment?
{_ends(by="experiment", rows="family = 'all'")}\
select
    experiment,
    part,
    avg(accuracy) as accuracy,
    avg(format) as format,
    avg(calls) as calls,
    avg(surprisal) as surprisal,
    avg(flat_groups) as flat_groups
from ends
group by experiment, part
order by all;
"""
TRAINING_FAMILIES = f"""\
-- What did RL look like in its first and last five steps, by variant and family, over its seeds?
{_ends(by="experiment, family", rows="family <> 'all'")}\
select
    variant,
    family,
    part,
    count(distinct seed) as num_seeds,
    avg(accuracy) as accuracy,
    avg(format) as format,
    avg(calls) as calls,
    avg(failed_calls) as failed_calls,
    avg(tokens) as tokens,
    avg(surprisal) as surprisal
from ends
group by variant, family, part
order by all;
"""
PAGE_QUERIES = {
    "experiments": EXPERIMENTS,
    "kinds": KINDS,
    "training": TRAINING,
    "training_ends": TRAINING_ENDS,
    "training_families": TRAINING_FAMILIES,
}
"""Queries of the tables and figures beside the claims, by name."""


def claim_sql(claim: Claim, *, tables: str) -> str:
    """Return the query of a claim.

    It gives a row for all seeds and, where the arms are paired, for each family in it, then one per
    seed: `part`, `difference`, `n`, and the means `first` and `second` of the arms.

    Args:
        claim: the claim.
        tables: folder of the tables, as the query is to name it.
    """
    body = _paired() if claim.is_paired else _unpaired()
    return "\n".join(
        [
            f"-- {claim.key}: {claim.text}",
            f"with measured as (\n{_measured(claim, tables)}\n),",
            f"ours as (\n{_arm(claim.first)}\n),",
            f"theirs as (\n{_arm(claim.second)}\n),",
            body,
            "",
        ]
    )


def _measured(claim: Claim, tables: str) -> str:
    where = ["stop_reason <> 'infrastructure'"]
    if claim.need is not None:
        where.append(f"need = '{claim.need}'")
    lines = [
        "    -- Outages of ours are in nothing; an answer without the measure has no value.",
        "    select seed, variant, arm, family, suite, sample_id,",
        f"        {_value(claim.measure)} as value",
        f"    from read_parquet('{tables}/answers.parquet')",
        f"    where {' and '.join(where)}",
    ]
    return "\n".join(lines)


def _value(measure: Measure) -> str:
    if measure in _VALUES:
        return _VALUES[measure]
    names = ", ".join(f"'{kind}'" for kind in _KINDS[measure])
    meant = f"len(list_filter(kinds, lambda kind: kind in ({names})))"
    return (
        f"{meant}::double"
        if measure is Measure.HOLLOW_CALLS
        else f"{meant} / nullif(len(kinds), 0)"
    )


def _arm(arm: Arm) -> str:
    where = [f"variant = '{arm.variant}'", f"arm = '{arm.column}'", "value is not null"]
    if arm.families:
        where.append(f"family in ({', '.join(repr(family) for family in arm.families)})")
    chosen = " and ".join(where)
    return f"    select seed, family, suite, sample_id, value from measured\n    where {chosen}"


def _paired() -> str:
    return """\
pairs as (
    select seed, ours.family, suite, sample_id, ours.value as first, theirs.value as second
    from ours join theirs using (seed, suite, sample_id)
),
-- Over several seeds a sample counts with its mean over them.
samples as (
    select family, suite, sample_id, avg(first) as first, avg(second) as second
    from pairs
    group by family, suite, sample_id
)
select 'all seeds' as part, avg(first - second) as difference, count(*) as n,
    avg(first) as first, avg(second) as second
from samples having count(*) > 0
union all
select 'family ' || family, avg(first - second), count(*), avg(first), avg(second)
from samples group by family
union all
select 'seed ' || seed, avg(first - second), count(*), avg(first), avg(second)
from pairs group by seed
order by part;"""


def _unpaired() -> str:
    return """\
-- Seeds at which both arms have a value.
seeds as (
    select seed from ours intersect select seed from theirs
),
sides as (
    select 'first' as side, seed, suite, sample_id, value from ours
    union all
    select 'second', seed, suite, sample_id, value from theirs
),
samples as (
    select 'seed ' || seed as part, side, suite, sample_id, value
    from sides semi join seeds using (seed)
    union all
    -- Over several seeds a sample counts with its mean over them.
    select 'all seeds', side, suite, sample_id, avg(value) from sides semi join seeds using (seed)
    group by side, suite, sample_id
),
means as (
    select part, side, avg(value) as value, count(*) as n from samples group by part, side
)
select part, first.value - second.value as difference, least(first.n, second.n) as n,
    first.value as first, second.value as second
from (from means where side = 'first') as first
join (from means where side = 'second') as second using (part)
order by part;"""
