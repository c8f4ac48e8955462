"""The forecast of a grid and the order in which its experiments begin."""

import pytest

from agentic_vlm.errors import RecordError
from flows.dag import Node
from flows.forecast import (
    EXPERIMENT_S,
    STAGE_START_S,
    Forecast,
    Seconds,
    lay_out,
    read_seconds,
)
from flows.grid import Experiment
from flows.grid_run import Pace

NODES = [
    Node("build_base", (), (), "", (), 0, "", (), ("seed",), is_frozen=True),
    Node("train_sft", ("build_base",), (), "", (), 0, "", (), ("seed", "train_sft")),
    Node("train_rl", ("train_sft",), (), "", (), 0, "", (), ("train_rl",)),
    Node("evaluate@sft", ("train_sft",), (), "", (), 0, "", (), ("evaluate",)),
    Node("evaluate@rl", ("train_rl",), (), "", (), 0, "", (), ("evaluate",)),
    Node("report", ("evaluate@rl", "evaluate@sft"), (), "", (), 0, "", ()),
]
BASE = {
    "seed": 0,
    "train_sft": {"num_steps": 100},
    "train_rl": {"num_steps": 50, "method": "grpo"},
    "evaluate": {"modes": {"sft": ["agent"], "rl": ["agent"]}},
}
SECONDS = {
    "build_base": Seconds(900.0, 900.0),
    "train_sft": Seconds(100.0, 190.0),
    "train_rl": Seconds(200.0, 280.0),
    "evaluate-rl": Seconds(10.0, 8.0),
}
WHOLE = Experiment(0, "grpo", ())
REJECTION = Experiment(0, "rejection", (), ("rl",))
SHORT = Experiment(0, "short", (), ("sft",))
OTHER_SEED = Experiment(1, "grpo", (), ("rl",))


@pytest.fixture
def forecast() -> Forecast:
    return Forecast(NODES, seconds=SECONDS, base=BASE)


@pytest.fixture
def works(forecast):
    changed = {
        WHOLE: {},
        REJECTION: {"train_rl": {"num_steps": 25, "method": "rejection"}},
        SHORT: {"train_sft": {"num_steps": 1}},
        OTHER_SEED: {"seed": 1},
    }
    return {one.name: forecast.works(one, BASE | change) for one, change in changed.items()}


def test_only_what_the_models_of_an_experiment_need_is_run(forecast, works):
    assert forecast.stages(WHOLE) == {node.name for node in NODES}
    assert [work.name for work in works["seed-0-rejection"]] == [
        "train_sft", "train_rl", "evaluate@rl"
    ]  # fmt: skip
    assert [work.name for work in works["seed-0-short"]] == ["train_sft", "evaluate@sft"]


def test_seconds_grow_with_the_steps_and_with_the_modes(works):
    seconds = {work.name: work.seconds.wall_s - STAGE_START_S for work in works["seed-0-rejection"]}
    assert seconds == {"train_sft": 100.0, "train_rl": 100.0, "evaluate@rl": 10.0}
    assert works["seed-0-short"][0].seconds == (STAGE_START_S + 1.0, STAGE_START_S + 1.9)


def test_a_stage_with_equal_params_and_equal_stages_before_it_runs_once(works):
    spans = lay_out([WHOLE, REJECTION, OTHER_SEED], works, num_jobs=1)
    assert [span.stages for span in spans] == [
        ("train_sft", "train_rl", "evaluate@sft", "evaluate@rl", "report"),
        ("train_rl", "evaluate@rl"),
        ("train_sft", "train_rl", "evaluate@rl"),
    ]
    assert spans[1].start_s == spans[0].end_s
    assert spans[1].end_s - spans[1].start_s == EXPERIMENT_S + 2 * STAGE_START_S + 110.0
    after = lay_out([REJECTION], works, num_jobs=1, done=[WHOLE.name])
    assert after[0].stages == ("train_rl", "evaluate@rl")
    alone = lay_out([WHOLE, REJECTION], works, num_jobs=1, shares=False)
    assert alone[1].stages == ("train_sft", "train_rl", "evaluate@rl")


def test_variants_wait_for_the_first_of_their_seed_and_another_seed_goes_before_them(works):
    spans = lay_out([WHOLE, REJECTION, SHORT, OTHER_SEED], works, num_jobs=2)
    assert [span.experiment for span in spans] == [WHOLE, OTHER_SEED, REJECTION, SHORT]
    first, other, rejection, _ = spans
    assert other.start_s == first.start_s == 0.0
    assert rejection.start_s == first.end_s
    # Two at once have a thread each: a stage takes its CPU seconds, or what it waits for.
    assert first.end_s == EXPERIMENT_S + 5 * STAGE_START_S + 190.0 + 280.0 + 10.0


def test_the_pace_of_what_has_ended_corrects_the_forecast():
    pace = Pace()
    assert pace.correct(60.0) == 60.0
    pace.add(foretold_s=100.0, took_s=150.0)
    assert pace.correct(60.0) == 90.0


def test_seconds_come_from_the_last_run_of_each_stage_and_damage_is_named(tmp_path):
    assert read_seconds(tmp_path) == {}
    folder = tmp_path / "metrics/timings"
    folder.mkdir(parents=True)
    (folder / "evaluate-rl.json").write_text('{"wall_s": 12.5, "cpu_s": 20}')
    assert read_seconds(tmp_path) == {"evaluate-rl": (12.5, 20.0)}
    (folder / "curate.json").write_text('{"cpu_s": 1}')
    with pytest.raises(RecordError, match=r"curate\.json.*\n.*fix: delete it"):
        read_seconds(tmp_path)
