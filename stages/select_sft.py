"""select_sft: teacher Trajectory -> the trajectories that the cold start learns from."""

from collections import Counter

from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.replay import replay
from agentic_vlm.backends.local import load_processor
from agentic_vlm.schema import CuratedSample, Rejection, Trajectory
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageStore, iter_records, write_records
from agentic_vlm.synthesis.selection import CountTokens, select

STAGE = Stage(
    name="select_sft",
    doc="Keep right, error-free trajectories and mix in tool-free reasoning by its share.",
    reads=("data/trajectories", "data/curated", "data/raw", "models/base"),
    writes=("data/sft",),
)


def run(context: StageContext) -> StageReport:
    """Write data/sft/{records,rejections}."""
    params = context.params
    folder = context.read_from("data/trajectories")
    trajectories = list(context.limited(iter_records(folder / "records", Trajectory)))
    curated = context.read_from("data/curated") / "records"
    samples = {row.sample_id: row for row in iter_records(curated, CuratedSample)}
    with context.timed("select"):
        selection = select(
            trajectories,
            samples,
            params=params.select_sft,
            grading=params.grading,
            count_tokens=_counter(context),
            tools=params.agent.tools,
        )
    out = context.write_to("data/sft")
    write_records(out / "records", selection.kept, Trajectory, key=lambda row: (row.trajectory_id,))
    write_records(
        out / "rejections", selection.rejections, Rejection, key=lambda row: (row.row_id,)
    )
    kept = [samples[row.sample_id] for row in selection.kept]
    return StageReport(
        num_in=len(trajectories),
        num_out=len(selection.kept),
        left_out=Counter(row.reason.value for row in selection.rejections),
        summary={
            "families": dict(sorted(Counter(sample.family for sample in kept).items())),
            "num_samples": len({sample.sample_id for sample in kept}),
            "num_tool_free": sum(row.num_calls == 0 for row in selection.kept),
        },
    )


def _counter(context: StageContext) -> CountTokens:
    """Return what counts tokens as the base model's tokenizer and processor see them."""
    processor = load_processor(context.read_from("models/base"))
    renderer = Renderer(processor.tokenizer, vision=context.params.vision)
    folders = [context.read_from(name) / "images" for name in ("data/raw", "data/trajectories")]
    store = ImageStore.open(*folders)

    def count(trajectory: Trajectory) -> int:
        return replay(trajectory, renderer=renderer, load=store.get).num_tokens

    return count


if __name__ == "__main__":
    STAGE.main(run)
