"""build_base: world -> pocket base model, trained from pixels."""

from dataclasses import asdict
from functools import partial
from typing import Any

from agentic_vlm.params import BuildBaseParams, WorldSource
from agentic_vlm.schema import CheckpointCard
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.training.base_skills import BaseSkills, measure_base_skills
from agentic_vlm.training.checkpoint import save_checkpoint
from agentic_vlm.training.curves import write_curve
from agentic_vlm.training.pretrain import PretrainPlan, pretrain
from agentic_vlm.training.pretrain_vision import VisionPlan, build_heads, pretrain_vision
from agentic_vlm.training.threads import use_threads
from agentic_vlm.world.base_model import build_model, build_processor
from agentic_vlm.world.copying import copy_lesson, names_lesson, numbers_lesson
from agentic_vlm.world.entities import build_entities
from agentic_vlm.world.lessons import chart_lesson, receipt_lesson
from agentic_vlm.world.provenance import base_code_sha256
from agentic_vlm.world.samples import FAMILIES

STAGE = Stage(
    name="build_base",
    doc="Train the pocket base model from pixels; frozen, its result is in git.",
    writes=("models/base", "plots/build_base.csv"),
    keeps_books=False,
)
HELD_OUT_SHARE = 0.25
"""Share of the entities that no training ever sees."""


def run(context: StageContext) -> StageReport:
    """Teach the vision tower, then the whole model, and measure what it can do."""
    use_threads()
    params, seed = context.params.build_base, context.params.seed
    vision = context.params.vision
    processor = build_processor(min_pixels=vision.min_pixels, max_pixels=vision.max_pixels)
    model = build_model(processor.tokenizer, seed=seed)
    with context.timed("vision"):
        dense = _teach_vision(context, model, processor)
    with context.timed("lessons"):
        curve = _teach_lessons(context, model, processor)
    skills = measure_base_skills(
        model, processor, seed=seed, num_pictures=params.num_skill_pictures
    )
    card = _save(context, model, processor, skills, dense)
    write_curve(context.write_to("plots/build_base.csv"), curve, columns=("step", "loss"))
    num_lessons = sum(
        plan.num_steps * plan.batch_size for plan in _lesson_courses(params, seed=seed)
    )
    return StageReport(
        num_in=num_lessons,
        num_out=num_lessons,
        summary={"checkpoint_id": card.checkpoint_id, "dense": dense, **asdict(skills)},
    )


def _teach_vision(context: StageContext, model: Any, processor: Any) -> dict[str, float]:
    seed = context.params.seed
    heads = build_heads(model.config.text_config.hidden_size, seed=seed)
    dense: dict[str, float] = {}
    for plan in _dense_courses(context.params.build_base, seed=seed):
        dense = pretrain_vision(
            model.model.visual, heads, processor.image_processor, plan, scratch=context.scratch
        )
    return dense


def _teach_lessons(context: StageContext, model: Any, processor: Any) -> list[dict[str, float]]:
    params = context.params.build_base
    source = next(s for s in context.params.ingest.sources if isinstance(s, WorldSource))
    entities = build_entities(
        source.seed, num_entities=source.num_entities, held_out_share=HELD_OUT_SHARE
    )
    known = [entity for entity in entities if not entity.is_held_out]
    curve: list[dict[str, float]] = []
    for plan in _lesson_courses(params, seed=context.params.seed):
        part = pretrain(
            model, processor, known, context.params.agent, plan, scratch=context.scratch
        )
        # One curve: the steps of a course go on where those of the course before it ended.
        num_before = len(curve)
        curve += [{**row, "step": row["step"] + num_before} for row in part]
    return curve


def _dense_courses(params: BuildBaseParams, *, seed: int) -> tuple[VisionPlan, VisionPlan]:
    """Return the dense courses: first everything, then mostly letters, which take longest."""
    return (
        VisionPlan(
            name="overviews",
            num_steps=params.num_overview_steps,
            num_overviews=32,
            num_crops=48,
            learning_rate=params.learning_rate,
            seed=seed,
            save_every=params.save_every,
        ),
        VisionPlan(
            name="crops",
            num_steps=params.num_crop_steps,
            num_overviews=8,
            num_crops=112,
            learning_rate=params.learning_rate,
            seed=seed + 1,
            save_every=params.save_every,
        ),
    )


def _lesson_courses(params: BuildBaseParams, *, seed: int) -> tuple[PretrainPlan, ...]:
    """Return the courses: pointing, everything with the forms last, copying, prompted, forms again.

    Pointing is learned late and at once, from many lessons about plates; where other lessons were
    as frequent from the start, it was not learned at all (docs/decisions/0002-pocket-base.md).
    """
    rate = params.learning_rate
    course = partial(PretrainPlan, batch_size=32, save_every=params.save_every)
    copying = (names_lesson, names_lesson, numbers_lesson)
    reading = (chart_lesson, receipt_lesson)
    return (
        course(
            name="places",
            num_steps=params.num_place_steps,
            learning_rate=rate,
            decay_share=0.0,
            seed=seed,
            plates_share=0.7,
            num_few_steps=params.num_place_steps // 3,
        ),
        course(
            name="forms",
            num_steps=params.num_steps,
            learning_rate=rate,
            decay_share=params.decay_share,
            seed=seed + 1,
        ),
        course(
            name="manners",
            num_steps=params.num_manner_steps,
            learning_rate=rate / 2,
            decay_share=1.0,
            seed=seed + 2,
        ),
        course(
            name="copies",
            num_steps=params.num_copy_steps,
            learning_rate=rate / 2,
            decay_share=0.0,
            seed=seed + 3,
            focus=(names_lesson, names_lesson, copy_lesson, chart_lesson, receipt_lesson),
            focus_share=0.85,
        ),
        course(
            name="prompted",
            num_steps=params.num_prompted_steps,
            learning_rate=rate / 2,
            decay_share=0.0,
            seed=seed + 5,
            focus=(*copying, *copying, copy_lesson, *reading),
            focus_share=0.8,
            call_share=0.4,
            system_share=0.7,
        ),
        course(
            name="polish",
            num_steps=params.num_polish_steps,
            learning_rate=rate / 2,
            decay_share=1.0,
            seed=seed + 4,
            focus=(*copying, *reading),
            focus_share=0.3,
            form_share=0.7,
            form_families=("reasoning", "reasoning", "search", "search", *FAMILIES),
            system_share=0.7,
        ),
    )


def _save(
    context: StageContext,
    model: object,
    processor: object,
    skills: BaseSkills,
    dense: dict[str, float],
) -> CheckpointCard:
    params = context.params.build_base
    return save_checkpoint(
        context.write_to("models/base"),
        model,
        processor,
        stage=STAGE.name,
        parent="",
        step=params.num_steps,
        seed=context.params.seed,
        code_sha256=base_code_sha256(),
        command="python -m stages.build_base",
        notes=(
            f"Reads {skills.label_accuracy:.1%} of labels in crops of {skills.num_pictures} "
            f"held-out pictures; chance {skills.label_chance:.2%}.",
            f"Points at {skills.place_accuracy:.1%} of plates, centre error below one merged "
            f"patch; chance {skills.place_chance:.1%}.",
            "Dense lessons ended with "
            + ", ".join(f"{name} {value:.3f}" for name, value in sorted(dense.items()))
            + ".",
        ),
    )


if __name__ == "__main__":
    STAGE.main(run)
