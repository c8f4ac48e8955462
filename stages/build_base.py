"""build_base: world -> pocket base model, trained from pixels."""

from dataclasses import asdict

from agentic_vlm.params import WorldSource
from agentic_vlm.schema import CheckpointCard
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.training.base_skills import BaseSkills, measure_base_skills
from agentic_vlm.training.checkpoint import save_checkpoint
from agentic_vlm.training.curves import write_curve
from agentic_vlm.training.pretrain import PretrainPlan, pretrain
from agentic_vlm.training.pretrain_vision import VisionPlan, pretrain_vision
from agentic_vlm.training.threads import use_threads
from agentic_vlm.world.base_model import build_model, build_processor
from agentic_vlm.world.entities import build_entities
from agentic_vlm.world.provenance import base_code_sha256

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
        dense = pretrain_vision(
            model,
            processor.image_processor,
            VisionPlan(
                num_steps=params.num_vision_steps,
                num_overviews=params.num_overviews,
                num_crops=params.num_crops,
                learning_rate=params.learning_rate,
                seed=seed,
                save_every=params.save_every,
            ),
            scratch=context.scratch,
        )
    source = next(s for s in context.params.ingest.sources if isinstance(s, WorldSource))
    entities = build_entities(
        source.seed, num_entities=source.num_entities, held_out_share=HELD_OUT_SHARE
    )
    with context.timed("lessons"):
        curve = pretrain(
            model,
            processor,
            [entity for entity in entities if not entity.is_held_out],
            context.params.agent,
            PretrainPlan(
                num_steps=params.num_steps,
                batch_size=params.batch_size,
                learning_rate=params.learning_rate,
                decay_share=params.decay_share,
                seed=seed,
                save_every=params.save_every,
                num_frozen_steps=params.num_frozen_steps,
            ),
            scratch=context.scratch,
        )
    skills = measure_base_skills(
        model, processor, seed=seed, num_pictures=params.num_skill_pictures
    )
    card = _save(context, model, processor, skills, dense)
    write_curve(context.write_to("plots/build_base.csv"), curve, columns=("step", "loss"))
    return StageReport(
        num_in=params.num_steps * params.batch_size,
        num_out=params.num_steps * params.batch_size,
        summary={"checkpoint_id": card.checkpoint_id, "dense": dense, **asdict(skills)},
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
