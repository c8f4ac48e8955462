"""train_rl: cold-start checkpoint + RL pool -> RL checkpoint, rollouts."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.runtime import open_kit
from agentic_vlm.backends.local import load_model, load_processor
from agentic_vlm.errors import ParamsError
from agentic_vlm.grading.judges import open_judge
from agentic_vlm.schema import CuratedSample, Rollout
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageStore, ImageWriter, Parts, read_records, write_records
from agentic_vlm.training.alarms import Watch
from agentic_vlm.training.checkpoint import read_card, save_checkpoint
from agentic_vlm.training.curves import write_curve
from agentic_vlm.training.logged import HELD_OUT, Logged, last_figures, read_log
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.metrics import step_metrics, tool_metrics
from agentic_vlm.training.rl import train_rl
from agentic_vlm.training.rollout_policy import open_rollout_policy
from agentic_vlm.training.rollouts import RewardedEpisode, Roller, make_record
from agentic_vlm.training.threads import use_threads
from agentic_vlm.training.validation import hold_out

logger = logging.getLogger(__name__)

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
    "cut",
    "no_advantage",
)


def run(context: StageContext) -> StageReport:
    """Train with episodes of the loop; every rollout is kept."""
    use_threads()
    params = context.params.train_rl
    start = context.read_from("models/sft")
    pool = read_records(context.read_from("data/pools") / "rl" / "records", CuratedSample)
    samples = {
        sample.sample_id: sample
        for sample in context.limited(pool)
        if sample.family in params.families
    }
    if not samples:
        what = f"the RL pool holds no sample of {', '.join(params.families)}"
        raise ParamsError("params.yaml, train_rl.families", what, "name families that it holds")
    dtype = context.params.model.dtype
    processor, model = load_processor(start), load_model(start, dtype=dtype)
    recorder = _Recorder(context, samples)
    apart = hold_out(samples, share=params.validation_share, seed=context.params.seed)
    with (
        _open_roller(context, model, processor, samples) as (roller, on_weights),
        context.progress("steps", total=params.num_steps) as progress,
        context.timed("train"),
    ):
        log = train_rl(
            model,
            processor,
            roller,
            sorted(set(samples) - apart),
            params,
            seed=context.params.seed,
            scratch=context.scratch / "trainer",
            on_weights=on_weights,
            on_rollouts=recorder.record,
            on_step=progress.advance_to,
            on_mismatch=recorder.watch,
            held_out=sorted(apart),
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
    return recorder.finish(card.checkpoint_id, read_log(log, context.params))


@contextmanager
def _open_roller(
    context: StageContext, model: Any, processor: Any, samples: Mapping[str, CuratedSample]
) -> Iterator[tuple[Roller, Callable[[], None]]]:
    """Open policy and tools; beside them, what new weights call for.

    What was opened is closed in the end, the last first, also where something after it fails.
    """
    params = context.params
    with ExitStack() as opened:
        loop = LoopThread()
        opened.callback(loop.close)
        start = context.read_from("models/sft")
        policy, on_weights, on_sampled = open_rollout_policy(
            params,
            model,
            processor,
            policy_id=read_card(start).checkpoint_id,
            checkpoint=start,
            scratch=context.scratch,
            loop=loop,
        )
        opened.callback(lambda: loop.run(policy.close()))
        kit = opened.enter_context(
            loop.held(open_kit(params, corpus=context.read_from("data/corpus")))
        )
        judge = opened.enter_context(loop.held(open_judge(params.grading, root=context.root)))
        roller = Roller(
            policy,
            renderer=Renderer(processor.tokenizer, vision=params.vision),
            kit=kit,
            loop=loop,
            samples=samples,
            pictures=ImageStore.open(context.read_from("data/raw") / "images"),
            params=params.train_rl,
            grading=params.grading,
            seed=params.seed,
            judge=judge,
            on_sampled=on_sampled,
        )
        yield roller, on_weights


class _Recorder:
    """Writes rollouts to scratch as they come and to data/rollouts in the end."""

    def __init__(self, context: StageContext, samples: Mapping[str, CuratedSample]) -> None:
        self._families = {name: sample.family for name, sample in samples.items()}
        self._context = context
        self._parts = Parts(
            context.scratch / "rollouts",
            Rollout,
            row_id=_row_id,
        )
        self._done = self._parts.finished_ids()
        self._watch = Watch()
        self._last: list[Rollout] = []
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
        self._last = rows

    def watch(self, step: int, mismatch: float | None) -> None:
        """Look for alarms after the update of a step; warn or stop, as params say.

        Raises:
            TrainingAlarm: params say stop.
        """
        mode = self._context.params.train_rl.alarms
        rows, self._last = self._last, []
        for alarm in self._watch.observe(step, rows, mismatch=mismatch) if mode != "off" else []:
            if mode == "stop":
                raise alarm.error()
            logger.warning("%s", alarm.error())

    def finish(self, checkpoint_id: str, logged: Logged) -> StageReport:
        """Write records, pictures and curves, with what only the trainer knows."""
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
        # What was measured after step 10 stands beside the rollouts of step 9, the tenth.
        shown = [
            {
                **row,
                **logged.mismatch.get(int(row["step"]), {}),
                **logged.held_out.get(int(row["step"]) + 1, {}),
            }
            for row in curve
        ]
        columns = (
            *_COLUMNS,
            *(logged.mismatch_names if logged.mismatch else ()),
            *(HELD_OUT if logged.held_out else ()),
        )
        write_curve(context.write_to("plots/train_rl.csv"), shown, columns=columns)
        return StageReport(
            num_in=len(rows),
            num_out=len(rows),
            summary={
                "checkpoint_id": checkpoint_id,
                "num_rollouts": len(rows),
                "first_steps": _mean(curve[:5]),
                "last_steps": _mean(curve[-5:]),
                "families": _by_family(_last_rows(rows), self._families),
                "tools": _rounded(tool_metrics(_last_rows(rows))),
                "alarms": _alarms(rows),
                **last_figures("held_out", logged.held_out),
                **last_figures("sampler", logged.mismatch),
            },
        )


def _alarms(rows: Sequence[Rollout]) -> list[str]:
    """Return the alarms of the whole run, the same for one that was killed on the way."""
    watch = Watch()
    return [
        f"step {alarm.step}, {alarm.name}: {alarm.what}"
        for step in sorted({row.step for row in rows})
        for alarm in watch.observe(step, [row for row in rows if row.step == step], mismatch=None)
    ]


def _last_rows(rows: Sequence[Rollout]) -> list[Rollout]:
    """Return the rollouts of the last five steps."""
    steps = set(sorted({row.step for row in rows})[-5:])
    return [row for row in rows if row.step in steps]


def _by_family(rows: Sequence[Rollout], names: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Return the means of `_COLUMNS` by family of the sample."""
    families: dict[str, list[Rollout]] = {}
    for row in rows:
        families.setdefault(names[row.trajectory.sample_id], []).append(row)
    return {name: _mean(step_metrics(families[name])) for name in sorted(families)}


def _rounded(figures: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: round(value, 6) for key, value in row.items()} for name, row in figures.items()
    }


def _row_id(row: Rollout) -> str:
    return f"{row.step}/{row.trajectory.trajectory_id}"


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    if not rows:
        return {}
    return {name: round(sum(row[name] for row in rows) / len(rows), 6) for name in _COLUMNS[1:]}


if __name__ == "__main__":
    STAGE.main(run)
