"""The queries beside the report: each number that the named questions of the index do not give.

Written from the words of the report and not from the code that counts, so that one checks the
other. They read the tables beside the report and the parts of the stages, from the root of the
project.
"""

from agentic_vlm.analysis.claim_sql import STEP_MEANS

_EPISODES = "read_parquet('data/reports/tables/episodes.parquet')"
_STEPS = "read_parquet('data/reports/tables/rl_steps.parquet')"
_BENCHMARKS = "read_parquet('data/reports/tables/benchmarks.parquet')"
_ENDS = f"""\
ends as (
    select *, 'first' as part
    from {_STEPS}
    qualify row_number() over (partition by family order by step) <= 5
    union all
    select *, 'last' as part
    from {_STEPS}
    qualify row_number() over (partition by family order by step desc) <= 5
)"""
QUERIES = {
    "calls_by_kind": f"""\
-- What are the calls of each model for, over all and by family?
with calls as (
    select model, family, unnest(kinds) as kind from {_EPISODES}
),
counts as (
    select model, family, kind, count(*) as num_calls from calls group by model, family, kind
    union all
    select model, 'all', kind, count(*) from calls group by model, kind
)
select *, num_calls / sum(num_calls) over (partition by model, family) as share
from counts
order by all;
""",
    "combinations": f"""\
-- Which calls follow each other in an answer, how often, and how do such answers end?
select model, kinds, count(*) as num_answers, avg((verdict = 'correct')::integer) as right_share
from {_EPISODES}
group by model, kinds
order by model, num_answers desc, kinds;
""",
    "left_out": f"""\
-- Which share of the episodes of each model has no verdict, by number of calls?
select
    model,
    least(num_calls, 5) as calls,
    count(*) as num_episodes,
    avg((verdict = 'ungraded')::integer) as left_out_share,
    count(*) filter (stop_reason = 'infrastructure') as num_outages
from {_EPISODES}
group by model, least(num_calls, 5)
order by all;
""",
    "errors": f"""\
-- Why are the answers of each model wrong?
select
    model,
    error,
    count(*) as num_answers,
    count(*) / sum(count(*)) over (partition by model) as share
from {_EPISODES}
where error is not null
group by model, error
order by all;
""",
    "changes": f"""\
-- What does RL newly solve and newly break, by family?
select
    after.family,
    count(*) filter (before.verdict <> 'correct' and after.verdict = 'correct') as newly_solved,
    count(*) filter (before.verdict = 'correct' and after.verdict <> 'correct') as newly_broken
from (from {_EPISODES} where model = 'rl') as after
join (from {_EPISODES} where model = 'sft') as before using (sample_id)
group by after.family
order by after.family;
""",
    "rl_steps": f"""\
-- How did RL go, by family and step?
select * from {_STEPS}
order by family, step;
""",
    "rl_ends": f"""\
-- What did RL look like in its first and last five steps, by family?
with {_ENDS}
select
    family,
    part,
{STEP_MEANS}
from ends
group by family, part
order by family, part;
""",
    "rl_kinds": f"""\
-- What were calls of RL for in its first and last five steps, by family, per rollout?
with {_ENDS},
counts as (
    select family, part, count(*) as num_steps from ends group by family, part
),
kinds as (
    select family, part, unnest(map_entries(kinds)) as entry from ends
)
select
    family,
    part,
    entry.key as kind,
    sum(entry.value) / any_value(num_steps) as calls
from kinds
join counts using (family, part)
group by family, part, entry.key
order by family, part, kind;
""",
    "crops": f"""\
-- Where it is known what there is to see: do crops show it, and does seeing it help?
select
    model,
    sum(num_crops) as num_crops,
    sum(num_evident_crops) / sum(num_crops) as evident_share,
    count(*) filter (num_evident_crops > 0) as num_seen,
    avg((verdict = 'correct')::integer) filter (num_evident_crops > 0) as right_if_seen,
    count(*) filter (num_evident_crops = 0) as num_unseen,
    avg((verdict = 'correct')::integer) filter (num_evident_crops = 0) as right_if_unseen
from {_EPISODES}
where num_crops > 0
group by model
order by model;
""",
    "endings": f"""\
-- How did the episodes of each model end, with which verdict, after how many calls?
select
    model,
    stop_reason,
    coalesce(verdict, 'none') as verdict,
    least(num_calls, 6) as calls,
    count(*) as num_episodes
from {_EPISODES}
group by model, stop_reason, coalesce(verdict, 'none'), least(num_calls, 6)
order by all;
""",
    "probe_passes": """\
-- How many samples did the base solve how often, by mode? Early stopping leaves a range.
with samples as (
    select
        mode,
        sample_id,
        count(*) filter (is_needed and verdict = 'correct') as at_least,
        count(*) filter (not is_needed or verdict is distinct from 'incorrect') as at_most
    from read_parquet('data/probes/records/*.parquet')
    group by mode, sample_id
)
select
    mode,
    passes,
    count(*) filter (at_least = passes) as num_at_least,
    count(*) filter (at_most = passes) as num_at_most,
    count(*) filter (at_least = passes and at_most <> passes) as num_open
from samples
cross join (select unnest(range(0, (select max(at_most) + 1 from samples))) as passes)
group by mode, passes
order by mode, passes;
""",
    "rows_by_stage": """\
-- How many rows did each stage write? Those that were left out: rejections_by_reason.
select 'ingest: samples' as rows_of, count(*) as num_rows from source_rows where split = 'train'
union all
select 'curate: samples', count(*) from samples where is_curated
union all
select 'probe: attempts', count(*) from probes where is_needed
union all
select 'allocate: ' || pool, count(*) from samples where pool is not null group by pool
union all
select 'synthesize: trajectories', count(*) from trajectories where stage = 'synthesize'
union all
select 'select_sft: trajectories', count(*) from trajectories where is_selected
union all
select 'train_rl: rollouts', count(*) from rollout_steps
order by all;
""",
    "benchmarks": f"""\
-- What are the figures of each benchmark by its own rule, with interval and n, by model?
select * from {_BENCHMARKS}
order by model, suite, position;
""",
    "benchmark_overall": """\
-- Which share of the questions of a benchmark did each model answer rightly?
select
    if(mode = 'agent', model, model || '_' || mode) as model,
    suite,
    avg(case verdict when 'correct' then 1.0 when 'incorrect' then 0.0 end) as share,
    count(*) filter (verdict <> 'ungraded') as n,
    count(*) filter (verdict = 'ungraded') as num_ungraded
from read_parquet('data/scores/*/scores/*.parquet')
group by if(mode = 'agent', model, model || '_' || mode), suite
order by all;
""",
    "contamination": """\
-- What does each model score on questions without a twin in training sources?
with named as (
    select distinct
        regexp_extract(
            evidence,
            '(?s)(?:^equals|is that of|with|nearly what) (\\w+/\\w+:.+?)(?: asks: .*)?$',
            1
        ) as row_name
    from read_parquet('data/curated/rejections/*.parquet')
    where reason = 'contaminated'
),
twins as (
    select distinct sample_id
    from read_parquet('data/suites/*/records/*.parquet')
    join named on row_name = split || '/' || source || ':' || source_row_id
),
answers as (
    select
        suite,
        if(mode = 'agent', model, model || '_' || mode) as model,
        sample_id,
        case verdict when 'correct' then 1.0 when 'incorrect' then 0.0 end as is_right,
        sample_id in (select sample_id from twins) as has_twin
    from read_parquet('data/scores/*/scores/*.parquet')
)
select
    suite,
    model,
    count(distinct sample_id) filter (has_twin) as num_twins,
    avg(is_right) as accuracy,
    count(is_right) as n,
    avg(is_right) filter (not has_twin) as accuracy_without,
    count(is_right) filter (not has_twin) as n_without
from answers
group by suite, model
order by suite, model;
""",
}
"""Queries by name."""


def asked(*names: str) -> str:
    """Name the questions of the index that give the numbers above again."""
    told = ", ".join(f"`{name}`" for name in names)
    return f"*Query: {told} of `python -m agentic_vlm.store.query`.*"


def counted(*names: str, folder: str = "queries") -> str:
    """Name the queries beside the report that give the numbers above again.

    >>> counted("errors")
    '*Query: [errors](queries/errors.sql).*'
    """
    return f"*Query: {', '.join(f'[{name}]({folder}/{name}.sql)' for name in names)}.*"
