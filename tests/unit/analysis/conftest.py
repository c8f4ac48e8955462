"""A small run of everything that the report reads."""

import random

import pytest

from agentic_vlm.schema import (
    CheckpointCard,
    Observation,
    RawSample,
    SolutionStep,
    StopReason,
    ToolCall,
    Turn,
)
from agentic_vlm.store import ImageWriter, read_records, write_records

FAMILIES = ("perception", "reasoning", "search", "integration", "text")
# What there is to see lies where models crop, lies elsewhere, or is not told.
CROPS = (
    (SolutionStep(kind="crop", box=(0, 0, 9, 9), reads="2"),),
    (SolutionStep(kind="crop", box=(30, 30, 40, 40), reads="2"),),
    (),
)
HOSTILE = "<script>alert(1)</script> | $x_1 `y`\x1b[31m"
RATES = {"base_direct": 0.2, "base": 0.15, "sft": 0.65, "rl": 0.9}


def _write(root, folder, records, kind=None):
    kind = kind or type(records[0])
    write_records(root / folder, records, kind, key=lambda record: (record.model_dump_json(),))


@pytest.fixture
def root(project, make_image):
    """Give a project folder with a suite of fifty samples and one picture each."""
    with ImageWriter(project / "data/suites/pocket/images") as images:
        refs = [images.add(make_image(colour, (64, 48))) for colour in ("red", "blue")]
    rows = [
        RawSample(
            sample_id=f"s{number:02d}", source="world", source_row_id=str(number), split="pocket",
            family=FAMILIES[number % 5], need="tool" if number % 2 else "direct",
            question=f"{HOSTILE} {number}?", answer="2", images=(refs[number % 2],),
            flags=("perception", "search", "reason") if number % 5 == 3 else ("perception",),
            solution=CROPS[number % 3] if number % 5 == 0 else (),
        )
        for number in range(50)
    ]  # fmt: skip
    _write(project, "data/suites/pocket/records", rows)
    return project


@pytest.fixture
def evaluated(root, make_score, make_trajectory, make_image):
    """Add the answers of base, SFT and RL."""
    rng = random.Random(0)
    samples = read_records(root / "data/suites/pocket/records", RawSample)
    pictures = tuple({ref.sha256: ref for row in samples for ref in row.images}.values())
    suite_need = {number: "tool" if number % 2 else "direct" for number in range(50)}
    for model, modes in {"base": ("direct", "agent"), "sft": ("agent",), "rl": ("agent",)}.items():
        with ImageWriter(root / "data/scores" / model / "images") as images:
            crop = images.add(make_image("green"))
        scores, episodes = [], []
        for mode in modes:
            rate = RATES["base_direct" if mode == "direct" else model]
            for number, need in suite_need.items():
                is_out = model == "rl" and number == 49
                verdict = "correct" if rng.random() < rate else "incorrect"
                num_calls = int(mode == "agent" and (need == "tool" or model == "sft"))
                common = {
                    "sample_id": f"s{number:02d}",
                    "trajectory_id": f"{model}-{mode}-{number}",
                    "mode": mode,
                    "verdict": "ungraded" if is_out else verdict,
                    "stop_reason": "infrastructure" if is_out else "answer",
                    "answer": HOSTILE,
                }
                seen = Observation(text=f"stdout: {HOSTILE}\n<image>", images=(crop,))
                call = Turn(
                    text=f"{HOSTILE}<code>",
                    observation=seen,
                    action=ToolCall(tool="python", code="image_1.crop((0, 0, 9, 9))"),
                )
                last = make_trajectory().turns[-1]
                turns = (call, last) if num_calls else (last,)
                shown = pictures[number % 2 : number % 2 + 1]
                episodes.append(
                    make_trajectory(**common, stage="evaluate", turns=turns, images=shown)
                )
                scores.append(
                    make_score(
                        **common,
                        model=model,
                        family=FAMILIES[number % 5],
                        need=need,
                        num_calls=num_calls,
                        flags=("perception", "search", "reason"),
                        num_failed_calls=int(num_calls and number % 7 == 0),
                    )
                )
        _write(root, f"data/scores/{model}/scores", scores)
        _write(root, f"data/scores/{model}/trajectories", episodes)
    return root


@pytest.fixture
def trained(evaluated, make_rollout, make_trajectory, make_probe, make_sample):
    """Add probe, pools, RL and the cards of two models."""
    rng = random.Random(1)
    samples = [
        make_sample(question=f"q{number}", family=FAMILIES[number % 3]) for number in range(6)
    ]
    codes = ("image_1.crop((0, 0, 9, 9))", "print(3 * 4)", "# plan", "image_1")
    rollouts = []
    for step in range(8):
        for number in range(16):
            is_right = rng.random() < 0.3 + step / 12
            turns = list(make_trajectory().turns)
            code = ToolCall(tool="python", code=codes[rng.randrange(4)])
            turns[0] = turns[0].model_copy(update={"action": code})
            is_out = number == 15 and step % 3 == 0
            episode = make_trajectory(
                trajectory_id=f"r{step}-{number}",
                sample_id=samples[number % 6].sample_id,
                stage="train_rl",
                turns=() if is_out else tuple(turns),
                stop_reason=StopReason.INFRASTRUCTURE if is_out else StopReason.ANSWER,
            )
            reward = None if is_out else 0.8 * is_right + 0.2
            rollouts.append(
                make_rollout(
                    trajectory=episode,
                    step=step,
                    group_id=f"{step}-{number // 8}",
                    reward=reward,
                    reward_accuracy=None if is_out else float(is_right),
                    sampler_logprobs=(-0.8 + step / 12, 0.0, -0.5 + step / 20),
                )
            )
    _write(evaluated, "data/rollouts/records", rollouts)
    probes = [
        make_probe(
            sample_id=f"t{number}", mode=mode, attempt=attempt,
            is_needed=number % 3 > 0 or attempt < 6,
            verdict=(("correct" if rng.random() < number / 30 else "incorrect")
                     if number % 3 > 0 or attempt < 6 else None),
        )
        for mode in ("direct", "agent") for number in range(30) for attempt in range(8)
    ]  # fmt: skip
    _write(evaluated, "data/probes/records", probes)
    for model, stage, parent in (("base", "build_base", ""), ("rl", "train_rl", "c-sft")):
        card = CheckpointCard(
            checkpoint_id=f"c-{model}", stage=stage, parent=parent, architecture="Tiny",
            num_parameters=1764384, step=60, seed=3, notes=(HOSTILE,),
        )  # fmt: skip
        (evaluated / "models" / model).mkdir(parents=True)
        (evaluated / "models" / model / "card.json").write_text(card.model_dump_json())
    _write(evaluated, "data/curated/records", samples)
    _write(evaluated, "data/pools/rl/records", samples[:4])
    _write(evaluated, "data/pools/sft/records", samples[4:])
    return evaluated
