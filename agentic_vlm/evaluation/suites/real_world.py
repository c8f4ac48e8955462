"""Real-world perception: HRBench, MME-RealWorld."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from agentic_vlm.evaluation.figures import (
    Figure,
    count_classes,
    grouped,
    mean_of_ratios,
    share,
    shares_by,
)
from agentic_vlm.evaluation.suites.choices import CHOICE_RULE, choice_item, read_options
from agentic_vlm.evaluation.suites.item import SuiteItem, fill_prompt, label_of, list_options
from agentic_vlm.evaluation.suites.pictures import read_pictures
from agentic_vlm.evaluation.suites.rows import iter_rows
from agentic_vlm.evaluation.suites.suite import KnownFile, Suite, by_label
from agentic_vlm.schema import ScoredAnswer, content_id


def _iter_hrbench(path: Path) -> Iterator[SuiteItem]:
    for row in iter_rows(path):
        options = read_options(row)
        images = read_pictures(row, "image_path", "image")
        # The four rows of one question differ in the order of its options only.
        asked = content_id(row.text("question"), *sorted(options.values()), *map(_digest, images))
        yield choice_item(
            row,
            item_id=row.text("index"),
            question=fill_prompt("choices", question=row.text("question"), options=options),
            options=options,
            labels={
                "category": row.text("category"),
                "cycle": row.text("cycle_category"),
                "question": asked,
            },
            images=images,
        )


def _digest(encoded: bytes) -> str:
    return content_id(encoded.hex())


def _aggregate_hrbench(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    """Mean over the four orders of options; the answers to one question are drawn together."""
    cycles = sorted({label_of(row, "cycle") for row in rows})

    def over_cycles(name: str, chosen: Sequence[ScoredAnswer]) -> Figure:
        return grouped(
            name,
            chosen,
            group=by_label("question"),
            count=count_classes(by_label("cycle"), cycles),
            statistic=mean_of_ratios(len(cycles)),
        )

    kinds = ("single", "cross")
    return [
        over_cycles("overall", rows),
        *(
            over_cycles(kind, [row for row in rows if label_of(row, "category") == kind])
            for kind in kinds
        ),
    ]


def _iter_mme(prompt: str) -> Callable[[Path], Iterator[SuiteItem]]:
    def iterate(path: Path) -> Iterator[SuiteItem]:
        for row in iter_rows(path):
            # "(A) a red car": the text begins with the fifth character.
            listed = row.items("multi-choice options", "multi_choice_options", "options")
            options = {text[1:2]: text[4:] for text in listed} or read_options(row)
            task, _, subtask = row.text("category").partition("/")
            lines = "\n".join(listed) or list_options(options)
            yield choice_item(
                row,
                item_id=row.text("index", "Question_id"),
                question=fill_prompt(prompt, question=row.text("question"), options=lines),
                options=options,
                labels={
                    "task": task,
                    "subtask": f"{task}/{subtask}",
                    "l2": f"{task}/{subtask}/{row.maybe('l2-category') or ''}",
                },
                rule="letter",
                images=read_pictures(row, "image", "bytes", "image_path"),
            )

    return iterate


def _aggregate_mme(rows: Sequence[ScoredAnswer]) -> list[Figure]:
    subtasks = sorted({label_of(row, "subtask") for row in rows})
    average = grouped(
        "mean of subtasks",
        rows,
        group=lambda row: f"{row.sample_id}/{label_of(row, 'subtask')}",
        count=count_classes(by_label("subtask"), subtasks),
        statistic=mean_of_ratios(len(subtasks)),
    )
    overall = share("overall", rows)
    parts = [
        figure for name in ("task", "subtask", "l2") for figure in shares_by(by_label(name), rows)
    ]
    return [overall, average, *parts]


HRBENCH_4K = Suite(
    name="hrbench_4k",
    title="HRBench-4K",
    table="real_world",
    family="perception",
    size=800,
    iter_items=_iter_hrbench,
    aggregate=_aggregate_hrbench,
    prompt="VLMEvalKit's options prompt",
    rule=f"{CHOICE_RULE}; mean over the four orders of the options",
    files=(KnownFile("hr_bench_4k.tsv", "f6b041b03d49543494b8a56d2e35be65"),),
    column="HR4K",
)

HRBENCH_8K = Suite(
    name="hrbench_8k",
    title="HRBench-8K",
    table="real_world",
    family="perception",
    size=800,
    iter_items=_iter_hrbench,
    aggregate=_aggregate_hrbench,
    prompt="VLMEvalKit's options prompt",
    rule=f"{CHOICE_RULE}; mean over the four orders of the options",
    files=(KnownFile("hr_bench_8k.tsv", "274c9c7f89329b804a4723178a00219c"),),
    column="HR8K",
)


def _mme(
    name: str, title: str, prompt: str, *, size: int | None, files: tuple[KnownFile, ...]
) -> Suite:
    return Suite(
        name=name,
        title=title,
        table="real_world",
        family="perception",
        size=size,
        iter_items=_iter_mme(prompt),
        aggregate=_aggregate_mme,
        prompt="the benchmark's own",
        rule="the first capital letter A to E of the answer; no judge",
        deviation="a letter inside a word is no answer, as the first-letter rule has it",
        files=files,
        column="MME-RW" if name == "mme_realworld" else "",
    )


MME_REALWORLD = _mme(
    "mme_realworld",
    "MME-RealWorld",
    "mme_realworld",
    size=23_609,
    files=(
        KnownFile("MME-RealWorld.tsv", "271c33ec814c39533c467ec6fb8a6f36", "earlier issue"),
        KnownFile("MME-RealWorld.tsv", "fd341132362fc41e707cb37ee6e4dcda", "later issue"),
    ),
)
MME_REALWORLD_LITE = _mme(
    "mme_realworld_lite",
    "MME-RealWorld-Lite",
    "mme_realworld",
    size=1919,
    files=(KnownFile("MME-RealWorld-Lite.tsv", "4c17057d7d3b6c4a0d4397c3dae0881c"),),
)
MME_REALWORLD_CN = _mme(
    "mme_realworld_cn",
    "MME-RealWorld-CN",
    "mme_realworld_cn",
    size=None,
    files=(KnownFile("MME-RealWorld-CN.tsv", "daaa763d52a760a38606d5dedb3fe444"),),
)

SUITES = (
    HRBENCH_4K,
    HRBENCH_8K,
    MME_REALWORLD,
    MME_REALWORLD_LITE,
    MME_REALWORLD_CN,
)
