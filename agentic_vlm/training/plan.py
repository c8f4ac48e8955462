"""What a recipe needs: time, memory and cost of cold start and RL, from shapes and assumptions.

Estimates, not measurements. Every assumption is printed with the result and can be changed; the
formulas are those of the usual scaling accounts (6 N per trained token, 2 N per generated one).
"""

from dataclasses import dataclass
from typing import NamedTuple

from agentic_vlm.errors import ParamsError
from agentic_vlm.params import Params

_GIB = 2**30


class Shape(NamedTuple):
    """Sizes of a model that matter for time and memory."""

    text: float
    """Parameters of the language model, embeddings included."""
    vision: float
    """Parameters of tower and projector."""
    layers: int
    hidden: int
    kv_width: int
    """Key heads x head size."""
    vocab: int


SHAPES = {
    "Qwen/Qwen2.5-VL-3B-Instruct": Shape(3.09e9, 0.67e9, 36, 2048, 256, 151936),
    "Qwen/Qwen2.5-VL-7B-Instruct": Shape(7.62e9, 0.68e9, 28, 3584, 512, 152064),
    "Qwen/Qwen3-VL-4B-Instruct": Shape(4.02e9, 0.42e9, 36, 2560, 1024, 151936),
    "models/base": Shape(0.95e6, 0.81e6, 4, 128, 128, 768),
}
"""By `model.base`; from the published configurations, and the pocket base."""


class Card(NamedTuple):
    """An accelerator."""

    flops: float
    """Dense bf16, per second."""
    memory_gib: float
    bandwidth: float
    """Bytes per second."""
    price: float
    """US dollars per hour, a usual cloud price; change it with --price."""


CARDS = {
    "h100": Card(989e12, 80, 3.35e12, 2.5),
    "h200": Card(989e12, 141, 4.8e12, 3.5),
    "a100": Card(312e12, 80, 2.0e12, 1.5),
}


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What no recipe says; shown with every estimate."""

    mfu: float = 0.40
    """Used share of the peak in training. Ours: the bar of benchmarks/sft.py, not yet measured."""
    decode_efficiency: float = 0.5
    """Share of the memory bandwidth that generation reaches."""
    decode_batch: int = 64
    """Rows that a card generates for at a time."""
    tool_share: float = 0.25
    """Time that tools and stragglers add to generation."""
    sft_tokens: int = 4000
    """Mean tokens of a cold-start trajectory, not above `max_tokens`."""
    prompt_tokens: int = 2500
    """Mean tokens of an RL prompt with its pictures."""
    policy_tokens: int = 450
    """Mean tokens that the policy writes per rollout. Paper, figure 8: 545 falling to 355."""
    observation_tokens: int = 1200
    """Mean tokens of observations per rollout, pictures included."""
    engine_gib: float = 4.0
    """What a colocated engine needs beside weights, keys and values: activations, graphs."""
    state_bytes: int = 12
    """Bytes per trained parameter: float32 weights and two moments of AdamW."""


class Phase(NamedTuple):
    """An estimate of cold start or RL."""

    hours: float
    memory_gib: float
    """Peak per card."""
    fits: bool
    dollars: float


class Estimate(NamedTuple):
    """Both phases and what they rest on."""

    sft: Phase
    rl: Phase
    step_s: dict[str, float]
    """Seconds of an RL step by part."""
    notes: list[str]


def plan(
    params: Params, *, card: Card, num_cards: int, given: Assumptions | None = None
) -> Estimate:
    """Return the estimate of a recipe.

    Raises:
        ParamsError: the shape of its model is not known.
    """
    given = given or Assumptions()
    shape = SHAPES.get(params.model.base)
    if shape is None:
        fix = f"known are {', '.join(SHAPES)}; add its sizes to agentic_vlm/training/plan.py"
        raise ParamsError(params.model.base, "the shape of this model is not known", fix)
    sft = _plan_sft(params, shape, card, num_cards, given)
    rl, parts = _plan_rl(params, shape, card, num_cards, given)
    notes = _notes(params, card, num_cards, given)
    if params.model.policy == "vllm_colocated":
        notes.append(_engine_note(shape, card, given))
    return Estimate(sft, rl, parts, notes)


def _plan_sft(
    params: Params, shape: Shape, card: Card, num_cards: int, given: Assumptions
) -> Phase:
    train = params.train_sft
    mean = min(given.sft_tokens, train.max_tokens)
    tokens = train.num_steps * (train.batch_tokens or train.batch_size * mean)
    vision = 0.0 if train.freeze_vision else 6 * shape.vision
    # With LoRA the weights get no gradient of their own: two thirds of the work remain.
    work = (4 if train.lora_rank else 6) * shape.text + vision + _attention(shape, mean)
    seconds = tokens * work / (card.flops * given.mfu * num_cards)
    trained = _trained(shape, train.lora_rank, is_vision_trained=not train.freeze_vision)
    memory = _memory(shape, trained, train.row_tokens, num_cards, given)
    return _phase(seconds, memory, card, num_cards)


def _plan_rl(
    params: Params, shape: Shape, card: Card, num_cards: int, given: Assumptions
) -> tuple[Phase, dict[str, float]]:
    train = params.train_rl
    rollouts = train.prompts_per_step * train.group_size
    written = given.policy_tokens
    context = given.prompt_tokens + written + given.observation_tokens
    size = shape.text + shape.vision
    # A card decodes a batch in the time that it takes to read weights and keys once.
    kv_bytes = _kv_bytes(shape, context)
    reads = 2 * size + given.decode_batch * kv_bytes
    per_s = given.decode_batch * card.bandwidth * given.decode_efficiency / reads
    decode = rollouts * written / (per_s * num_cards)
    prefill = rollouts * context * 2 * size / (card.flops * given.mfu * num_cards)
    # The rollouts of a group share their prompt in the update.
    own = rollouts * (context - given.prompt_tokens)
    tokens = own + train.prompts_per_step * given.prompt_tokens
    per_weight = 4 if train.lora_rank else 6
    vision = 2 if train.freeze_vision else per_weight
    work = per_weight * shape.text + vision * shape.vision + _attention(shape, context)
    update = tokens * work / (card.flops * given.mfu * num_cards)
    parts = {
        "generate": decode + prefill,
        "tools": given.tool_share * (decode + prefill),
        "update": update,
    }
    trained = _trained(shape, train.lora_rank, is_vision_trained=not train.freeze_vision)
    engine = 2 * size / _GIB + given.decode_batch * kv_bytes / _GIB
    memory = _memory(shape, trained, 8 * context, num_cards, given)
    if params.model.policy == "vllm_colocated":
        # It rests during the update; while it samples, nothing of a pass is there.
        engine += given.engine_gib
        resident = _memory(shape, trained, 0, num_cards, given)
        memory = max(memory, resident + engine)
    else:
        # Weights of the engine and its keys and values live beside the trainer.
        memory += engine
    return _phase(train.num_steps * sum(parts.values()), memory, card, num_cards), parts


def _engine_note(shape: Shape, card: Card, given: Assumptions) -> str:
    weights = 2 * (shape.text + shape.vision) / _GIB
    context = given.prompt_tokens + given.policy_tokens + given.observation_tokens
    held = given.decode_batch * _kv_bytes(shape, context) / _GIB
    share = (weights + held + given.engine_gib) / card.memory_gib
    return (
        f"vLLM on the cards that train: AGENTIC_ENGINE_MEMORY of at least {share:.2f} while it "
        f"samples; it rests during the update, with {weights:.1f} GiB of host memory per process"
    )


def _kv_bytes(shape: Shape, context: int) -> float:
    """Return bytes of keys and values of a context, 2 bytes each."""
    return 2.0 * 2 * shape.layers * shape.kv_width * context


def _attention(shape: Shape, length: int) -> float:
    """Return operations per token of causal attention, forward and backward."""
    return 6.0 * shape.layers * shape.hidden * length


def _trained(shape: Shape, lora_rank: int | None, *, is_vision_trained: bool) -> float:
    if lora_rank is not None:
        return 18.0 * shape.layers * shape.hidden * lora_rank
    return shape.text + (shape.vision if is_vision_trained else 0.0)


def _memory(shape: Shape, trained: float, tokens: int, num_cards: int, given: Assumptions) -> float:
    """Return GiB per card: sharded states, weights, kept activations and logits of a chunk."""
    size = shape.text + shape.vision
    states = trained * (given.state_bytes + 2) / num_cards
    weights = 2 * size / num_cards + 2 * size / shape.layers
    kept = 2.0 * tokens * shape.hidden * (shape.layers + 20)
    logits = 3 * 4.0 * min(tokens, 4096) * shape.vocab
    return (states + weights + kept + logits) / _GIB


def _phase(seconds: float, memory: float, card: Card, num_cards: int) -> Phase:
    hours = seconds / 3600
    return Phase(hours, memory, memory <= 0.92 * card.memory_gib, hours * num_cards * card.price)


def _notes(params: Params, card: Card, num_cards: int, given: Assumptions) -> list[str]:
    states = "LoRA" if params.train_rl.lora_rank else "FSDP2, float32 states"
    return [
        f"{num_cards} cards of {card.memory_gib:.0f} GiB at {card.price:.2f} $/h each; {states}",
        f"training at {given.mfu:.0%} of the peak, activations checkpointed per layer",
        f"cold start: {given.sft_tokens} tokens per trajectory, packed without padding",
        f"RL: prompts of {given.prompt_tokens}, {given.policy_tokens} written and "
        f"{given.observation_tokens} observed tokens per rollout",
        f"generation at {given.decode_efficiency:.0%} of the bandwidth, {given.decode_batch} rows "
        f"per card; tools add {given.tool_share:.0%}",
        "not counted: start, checkpoints, evaluation, teacher and judge",
    ]
