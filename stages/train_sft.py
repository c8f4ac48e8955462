"""train_sft: kept trajectories -> cold-start checkpoint."""

from collections.abc import Mapping, Sequence

from agentic_vlm.agent.context import TokenContext
from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.replay import replay
from agentic_vlm.backends.local import load_model, load_processor
from agentic_vlm.schema import Trajectory
from agentic_vlm.stage import Stage, StageContext, StageReport
from agentic_vlm.store import ImageStore, read_records
from agentic_vlm.training.checkpoint import read_card, save_checkpoint
from agentic_vlm.training.curves import write_curve
from agentic_vlm.training.sft import train_sft
from agentic_vlm.training.threads import use_threads
from agentic_vlm.training.validation import hold_out

STAGE = Stage(
    name="train_sft",
    doc="Cold start: teach the base model the protocol from kept trajectories.",
    reads=("data/sft", "data/raw", "data/trajectories", "models/base"),
    writes=("models/sft", "plots/train_sft.csv"),
    keeps_books=False,
)


def run(context: StageContext) -> StageReport:
    """Train on the policy's tokens of every kept trajectory."""
    use_threads()
    params = context.params.train_sft
    base = context.read_from("models/base")
    trajectories = read_records(context.read_from("data/sft") / "records", Trajectory)
    store = ImageStore.open(
        context.read_from("data/raw") / "images", context.read_from("data/trajectories") / "images"
    )
    dtype = context.params.model.dtype
    processor, model = load_processor(base), load_model(base, dtype=dtype)
    renderer = Renderer(processor.tokenizer, vision=context.params.vision)
    with context.timed("render"):
        rows = list(context.limited(trajectories))
        names = [row.sample_id for row in rows]
        apart = hold_out(names, share=params.validation_share, seed=context.params.seed)
        rendered = [replay(row, renderer=renderer, load=store.get) for row in rows]
        pairs = list(zip(names, rendered, strict=True))
        contexts = [one for name, one in pairs if name not in apart]
        held_out = [one for name, one in pairs if name in apart]
    with context.progress("steps", total=params.num_steps) as progress, context.timed("train"):
        curve = train_sft(
            model,
            processor,
            contexts,
            params,
            seed=context.params.seed,
            scratch=context.scratch / "trainer",
            on_step=progress.advance_to,
            held_out=held_out,
        )
    card = save_checkpoint(
        context.write_to("models/sft"),
        model,
        processor,
        stage=STAGE.name,
        parent=read_card(base).checkpoint_id,
        step=params.num_steps,
        seed=context.params.seed,
    )
    columns = ("step", "loss", "held_out_loss") if held_out else ("step", "loss")
    write_curve(context.write_to("plots/train_sft.csv"), curve, columns=columns)
    summary = {
        "checkpoint_id": card.checkpoint_id,
        "num_steps": params.num_steps,
        **_figures(contexts, curve),
    }
    return StageReport(num_in=len(rows), num_out=len(rows), summary=summary)


def _figures(
    contexts: Sequence[TokenContext], curve: Sequence[Mapping[str, float]]
) -> dict[str, object]:
    return {
        "final_loss": _last(curve, "loss"),
        **({"held_out_loss": found} if (found := _last(curve, "held_out_loss")) else {}),
        "num_trained_tokens": sum(sum(one.loss_mask) for one in contexts),
        "num_tokens": sum(one.num_tokens for one in contexts),
    }


def _last(curve: Sequence[Mapping[str, float]], name: str) -> float | None:
    found = [row[name] for row in curve if name in row]
    return round(found[-1], 6) if found else None


if __name__ == "__main__":
    STAGE.main(run)
