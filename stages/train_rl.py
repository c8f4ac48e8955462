"""train_rl: cold-start checkpoint + RL pool -> RL checkpoint, rollouts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.runtime import open_kit
from agentic_vlm.backends.local import InProcessPolicy, load_model, load_processor
from agentic_vlm.grading import open_judge
from agentic_vlm.schema import CuratedSample, Rollout
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageStore, ImageWriter, Parts, read_records, write_records
from agentic_vlm.training.checkpoint import read_card, save_checkpoint
from agentic_vlm.training.curves import write_curve
from agentic_vlm.training.rl import train_rl
from agentic_vlm.training.rollouts import (
    LoopThread,
    RewardedEpisode,
    Roller,
    make_record,
    step_metrics,
)
from agentic_vlm.training.threads import use_threads

STAGE = Stage(
    name="train_rl",
    doc="Reinforcement learning on the RL pool, with the real tools in the loop.",
    reads=("data/pools", "data/raw", "data/corpus", "models/sft"),
    writes=("models/rl", "data/rollouts", "plots/train_rl.csv"),
    keeps_books=False,
)
_COLUMNS = (
    "step",
    "reward",
    "accuracy",
    "format",
    "calls",
    "failed_calls",
    "tokens",
    "flat_groups",
    "left_out",
)


def run(context: StageContext) -> StageReport:
    """Train with episodes of the loop; every rollout is kept."""
    use_threads()
    params = context.params.train_rl
    start = context.read_from("models/sft")
    pool = read_records(context.read_from("data/pools") / "rl" / "records", CuratedSample)
    samples = {sample.sample_id: sample for sample in context.limited(pool)}
    processor, model = load_processor(start), load_model(start)
    recorder = _Recorder(context)
    with (
        _open_roller(context, model, processor, samples) as (roller, policy),
        context.progress("steps", total=params.num_steps) as progress,
        context.timed("train"),
    ):
        train_rl(
            model,
            processor,
            roller,
            sorted(samples),
            params,
            seed=context.params.seed,
            scratch=context.scratch / "trainer",
            on_weights=policy.sampler.encoder.clear,
            on_rollouts=recorder.record,
            on_step=progress.advance_to,
        )
    card = save_checkpoint(
        context.write_to("models/rl"),
        model,
        load_processor(start),
        stage=STAGE.name,
        parent=read_card(start).checkpoint_id,
        step=params.num_steps,
        seed=context.params.seed,
    )
    return recorder.finish(card.checkpoint_id)


@contextmanager
def _open_roller(
    context: StageContext, model: Any, processor: Any, samples: Mapping[str, CuratedSample]
) -> Iterator[tuple[Roller, InProcessPolicy]]:
    """Open policy and tools, and close them in the end."""
    policy = InProcessPolicy(
        model,
        processor,
        policy_id=read_card(context.read_from("models/sft")).checkpoint_id,
        max_batch=context.params.agent.max_concurrent,
        is_deterministic=context.params.agent.deterministic,
    )
    loop = LoopThread()
    kit_context = open_kit(context.params, corpus=context.read_from("data/corpus"))
    kit = loop.run(kit_context.__aenter__())
    judge_context = open_judge(context.params.grading, root=context.root)
    judge = loop.run(judge_context.__aenter__())
    try:
        roller = Roller(
            policy,
            renderer=Renderer(processor.tokenizer, vision=context.params.vision),
            kit=kit,
            loop=loop,
            samples=samples,
            pictures=ImageStore.open(context.read_from("data/raw") / "images"),
            params=context.params.train_rl,
            grading=context.params.grading,
            seed=context.params.seed,
            judge=judge,
        )
        yield roller, policy
    finally:
        loop.run(judge_context.__aexit__(None, None, None))
        loop.run(kit_context.__aexit__(None, None, None))
        loop.run(policy.close())
        loop.close()


class _Recorder:
    """Writes rollouts to scratch as they come and to data/rollouts in the end."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._parts = Parts(
            context.scratch / "rollouts",
            Rollout,
            row_id=_row_id,
        )
        self._done = self._parts.finished_ids()
        folder = context.write_to("data/rollouts") / "images"
        self._images = ImageWriter(folder, spool=context.scratch / "images.spool")

    def record(
        self, step: int, rollouts: Sequence[RewardedEpisode], advantages: Sequence[float | None]
    ) -> None:
        """Keep the rollouts of a step; a step that is sampled again after a kill is the same."""
        for rollout in rollouts:
            for png in rollout.episode.pictures.values():
                self._images.add(png)
        rows = [
            make_record(rollout, step=step, advantage=advantage)
            for rollout, advantage in zip(rollouts, advantages, strict=True)
        ]
        self._parts.append(row for row in rows if _row_id(row) not in self._done)

    def finish(self, checkpoint_id: str) -> StageReport:
        """Write records, pictures and curves."""
        context = self._context
        rows = list(self._parts)
        write_records(
            context.write_to("data/rollouts") / "records",
            rows,
            Rollout,
            key=lambda row: (row.step, row.group_id, row.trajectory.attempt),
        )
        used = {
            ref.sha256
            for row in rows
            for turn in row.trajectory.turns
            if turn.observation is not None
            for ref in turn.observation.images
        }
        self._images.close(keep=used)
        curve = step_metrics(rows)
        write_curve(context.write_to("plots/train_rl.csv"), curve, columns=_COLUMNS)
        return StageReport(
            num_in=len(rows),
            num_out=len(rows),
            summary={
                "checkpoint_id": checkpoint_id,
                "num_rollouts": len(rows),
                "first_steps": _mean(curve[:5]),
                "last_steps": _mean(curve[-5:]),
            },
        )


def _row_id(row: Rollout) -> str:
    return f"{row.step}/{row.trajectory.trajectory_id}"


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    if not rows:
        return {}
    return {name: round(sum(row[name] for row in rows) / len(rows), 6) for name in _COLUMNS[1:]}


if __name__ == "__main__":
    STAGE.main(run)
