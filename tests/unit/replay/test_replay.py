"""Replay: an untouched trajectory is equal, and every change of it is found."""

import asyncio
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from agentic_vlm.agent.episode import run_episode
from agentic_vlm.agent.task import EpisodeTask
from agentic_vlm.backends.scripted import ScriptedPolicy
from agentic_vlm.params import AgentParams, SandboxParams, SearchParams, VisionParams
from agentic_vlm.replay.compare import Outcome
from agentic_vlm.replay.run import Replayed, replay, replay_all
from agentic_vlm.replay.volatile import Volatility, agrees, volatility_of
from agentic_vlm.sandbox.process import ProcessSandbox
from agentic_vlm.schema import (
    FinalAnswer,
    ImageRef,
    Observation,
    ObservationStatus,
    ProbeMode,
    RawSample,
    ToolCall,
    Trajectory,
    Verdict,
)
from agentic_vlm.search.base import TextHit
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.slices import Entry
from agentic_vlm.store import ImageStore, ImageWriter
from agentic_vlm.tools.toolbox import Toolbox, Toolkit

_TURNS = (
    "<think>Look.</think><code>\n```python\nimage_1.crop((0, 0, 40, 40))\n```\n</code>",
    "Compute.</think><code>\n```python\nx = 6 * 7\nprint(x)\n```\n</code>",
    "Again.</think><code>\n```python\nprint(x / 0)\n```\n</code>",
    "Nothing.</think>",
    'Search.</think><tool_call>{"name": "search", "arguments": {"query": "moon"}}</tool_call>',
    "It is 42.</think><answer>42</answer>",
)


def _kit(sandbox: ProcessSandbox, *, num_outages: int = 0) -> Toolkit:
    return Toolkit(
        agent=AgentParams.model_validate({"max_turns": 9}),
        vision=VisionParams(),
        search=SearchParams(type="fake"),
        sandbox=sandbox,
        provider=FakeSearch({"moon": [TextHit("Moon", "", "grey")]}, num_outages=num_outages),
    )


Recorded = tuple[Entry, ImageStore]


class Bench:
    """One event loop and one sandbox for all tests: starting a fork server takes its time."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.sandbox = ProcessSandbox(SandboxParams(num_spares=2))

    def record(
        self, folder: Path, turns: tuple[str, ...] = _TURNS, *, trajectory_id: str = ""
    ) -> Recorded:
        """Run a scripted episode and return it, graded, with its pictures."""
        image = Image.new("RGB", (112, 112), "red")
        left = iter(turns)
        kit = _kit(self.sandbox)
        with ImageWriter(folder / "images") as writer:
            ref = writer.add(image)
            task = EpisodeTask("s", "How many?", (image,), (ref,), ProbeMode.AGENT, 0, 7, "test")
            episode = self.runner.run(
                run_episode(
                    task,
                    policy=ScriptedPolicy(lambda _: next(left)),
                    toolbox=Toolbox.for_episode(kit, images=task.images, seed=task.seed),
                    renderer=None,
                    params=kit.agent,
                    temperature=0.0,
                )
            )
            for png in episode.pictures.values():
                writer.add(png)
        sample = RawSample(
            sample_id="s",
            source="test",
            source_row_id="1",
            split="test",
            family="reasoning",
            question="How many?",
            answer="42",
            images=(ref,),
        )
        known = {"verdict": Verdict.CORRECT}
        named = {"trajectory_id": trajectory_id} if trajectory_id else {}
        graded = episode.trajectory.model_copy(update={**known, **named})
        return Entry("rl", graded, sample, None), ImageStore.open(folder / "images")

    def replay(self, entry: Entry, pictures: ImageStore, *, num_outages: int = 0) -> Replayed:
        """Replay one entry."""
        kit = _kit(self.sandbox, num_outages=num_outages)
        return self.runner.run(replay(entry, kit=kit, pictures=pictures))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.runner.run(bench.sandbox.close())
    bench.runner.close()


@pytest.fixture(scope="module")
def recorded(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return bench.record(tmp_path_factory.mktemp("recorded"))


def test_an_untouched_trajectory_is_equal(bench: Bench, recorded: Recorded) -> None:
    found = bench.replay(*recorded)
    assert found.differences == ()
    assert found.outcome is Outcome.EQUAL
    assert found.num_calls == 4


def _with_turn(trajectory: Trajectory, number: int, **changes: object) -> Trajectory:
    turns = list(trajectory.turns)
    turns[number] = turns[number].model_copy(update=changes)
    return trajectory.model_copy(update={"turns": tuple(turns)})


def _with_seen(trajectory: Trajectory, number: int, **changes: object) -> Trajectory:
    seen = trajectory.turns[number].observation
    assert seen is not None
    return _with_turn(trajectory, number, observation=seen.model_copy(update=changes))


_OTHER = ImageRef(sha256="0" * 64, width_px=40, height_px=40)
_CHANGES: dict[str, Callable[[Trajectory], Trajectory]] = {
    "observation text": lambda t: _with_seen(t, 1, text="stdout: 43"),
    "a letter of a search hit": lambda t: _with_seen(t, 4, text="1. Moon: gray"),
    "text of a parse failure": lambda t: _with_seen(t, 3, text="Error: try again"),
    "error class": lambda t: _with_seen(t, 2, error_class="ValueError"),
    "status": lambda t: _with_seen(t, 1, status=ObservationStatus.TIMEOUT),
    "dropped characters": lambda t: _with_seen(t, 1, num_dropped_chars=3),
    "another picture": lambda t: _with_seen(t, 0, images=t.images),
    "a picture too many": lambda t: _with_seen(
        t, 0, images=((t.turns[0].observation or Observation(text="")).images[0], t.images[0])
    ),
    "no picture": lambda t: _with_seen(t, 0, images=()),
    "code, not the text": lambda t: _with_turn(
        t, 1, action=ToolCall(tool="python", code="x = 42\nprint(x)")
    ),
    "code and text": lambda t: _with_turn(
        t,
        1,
        text=t.turns[1].text.replace("6 * 7", "6 * 8"),
        action=ToolCall(tool="python", code="x = 6 * 8\nprint(x)"),
    ),
    "query": lambda t: _with_turn(
        t, 4, action=ToolCall(tool="search", arguments_json='{"query": "sun"}')
    ),
    "answer": lambda t: t.model_copy(update={"answer": "43"}),
    "answer and its turn": lambda t: _with_turn(t, 5, action=FinalAnswer(text="43")),
    "verdict": lambda t: t.model_copy(update={"verdict": Verdict.INCORRECT}),
}


@pytest.mark.parametrize("change", _CHANGES)
def test_every_change_of_a_trajectory_is_found(
    bench: Bench, recorded: Recorded, change: str
) -> None:
    entry, pictures = recorded
    changed = _CHANGES[change](entry.trajectory)
    assert changed != entry.trajectory
    found = bench.replay(entry._replace(trajectory=changed), pictures)
    assert found.outcome is Outcome.DIFFERENT, found


class _Altered(ImageStore):
    """A store whose files were changed behind its back."""

    def get_bytes(self, picture: ImageRef | str) -> bytes:
        encoded = super().get_bytes(picture)
        return encoded[:-1] + bytes([encoded[-1] ^ 1])


def test_a_picture_whose_bytes_were_changed_is_found(bench: Bench, recorded: Recorded) -> None:
    entry, pictures = recorded
    found = bench.replay(entry, _Altered(pictures._places))
    assert found.outcome is Outcome.DIFFERENT
    assert "picture" in found.differences[0].where


def test_a_missing_picture_or_sample_is_unavailable_not_different(
    bench: Bench, recorded: Recorded
) -> None:
    entry, pictures = recorded
    assert bench.replay(entry, ImageStore({})).outcome is Outcome.UNAVAILABLE
    found = bench.replay(entry._replace(sample=None), pictures)
    assert [one.where for one in found.differences] == ["verdict"]
    assert found.outcome is Outcome.UNAVAILABLE


def test_an_outage_is_unavailable_not_different(bench: Bench, recorded: Recorded) -> None:
    found = bench.replay(*recorded, num_outages=1)
    assert [one.where for one in found.differences] == ["turn 5, call of search"]
    assert found.outcome is Outcome.UNAVAILABLE


def _with_code(code: str) -> tuple[str, ...]:
    return (
        f"<think>Now.</think><code>\n```python\n{code}\n```\n</code>",
        "It is 42.</think><answer>42</answer>",
    )


def test_a_clock_excuses_what_it_gives_and_nothing_else(bench: Bench, tmp_path: Path) -> None:
    code = "import time\nprint('sum', 6 * 7, 'at', time.time_ns())"
    entry, pictures = bench.record(tmp_path, _with_code(code))
    found = bench.replay(entry, pictures)
    assert found.outcome is Outcome.VOLATILE, found
    text = (entry.trajectory.turns[0].observation or Observation(text="")).text
    for changed in (text.replace("42", "43"), text.replace("at", "ab"), text + "\n1"):
        altered = entry._replace(trajectory=_with_seen(entry.trajectory, 0, text=changed))
        assert bench.replay(altered, pictures).outcome is Outcome.DIFFERENT, changed


def test_seeded_chance_excuses_nothing(bench: Bench, tmp_path: Path) -> None:
    entry, pictures = bench.record(tmp_path, _with_code("import random\nprint(random.random())"))
    assert bench.replay(entry, pictures).outcome is Outcome.EQUAL
    altered = _with_seen(entry.trajectory, 0, text="stdout: 0.5")
    found = bench.replay(entry._replace(trajectory=altered), pictures)
    assert found.outcome is Outcome.DIFFERENT


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from datetime import date\ndate(2024, 3, 1)", Volatility.NONE),
        ("from datetime import datetime\ndatetime.now()", Volatility.CALENDAR),
        ("import time\ntime.perf_counter()", Volatility.CLOCK),
        ("import numpy.random as r", Volatility.CHANCE),
        ("np.random.rand()", Volatility.CHANCE),
        ("uuid.uuid4()", Volatility.CHANCE),
        ("print('random', 3)", Volatility.NONE),
        ("x = 'time'", Volatility.NONE),
        ("print((", Volatility.NONE),
    ],
)
def test_names_tell_what_is_volatile(code: str, expected: Volatility) -> None:
    assert volatility_of([code]) is expected


@pytest.mark.parametrize(
    ("stored", "seen", "again", "kind", "expected"),
    [
        ("a 1 b", "a 2 b", "a 3 b", Volatility.CHANCE, True),
        ("a 1 c", "a 2 b", "a 3 b", Volatility.CHANCE, False),
        ("a 1", "a 2", "a 2", Volatility.CHANCE, False),
        ("1, 5, 9 end", "2 end", "3, 4 end", Volatility.CHANCE, True),
        ("1, 5, 9 and", "2 end", "3, 4 end", Volatility.CHANCE, False),
        ("ab", "x b", "y b", Volatility.CHANCE, False),
        ("so a 1", "a 2", "a 3", Volatility.CHANCE, False),
        ("took 0.01 s", "took 0.0 s", "took 0.0 s", Volatility.CLOCK, True),
        ("took 0.01 m", "took 0.0 s", "took 0.0 s", Volatility.CLOCK, False),
        ("took 7 s", "took 8 s", "took 8 s", Volatility.CLOCK, False),
        ("Monday, 3 May", "Sunday, 9 June", "Sunday, 9 June", Volatility.CALENDAR, True),
        ("Monday; 3 May", "Sunday, 9 June", "Sunday, 9 June", Volatility.CALENDAR, False),
        ("", "4", "7", Volatility.CHANCE, True),
    ],
)
def test_only_what_two_runs_of_now_disagree_on_is_excused(
    stored: str, seen: str, again: str, kind: Volatility, expected: bool
) -> None:
    assert agrees(stored, seen, again, kind) is expected


def test_many_are_replayed_in_their_order(bench: Bench, recorded: Recorded) -> None:
    entry, pictures = recorded
    done: list[int] = []

    async def run() -> list[Replayed]:
        entries = [
            entry._replace(
                trajectory=entry.trajectory.model_copy(update={"trajectory_id": f"t{n}"})
            )
            for n in range(6)
        ]
        results = replay_all(
            entries,
            kit=_kit(bench.sandbox),
            pictures=pictures,
            max_concurrent=3,
            on_done=lambda: done.append(1),
        )
        return [one async for one in results]

    found = bench.runner.run(run())
    assert [one.trajectory_id for one in found] == [f"t{n}" for n in range(6)]
    assert {one.outcome for one in found} == {Outcome.EQUAL}
    assert len(done) == 6


def test_every_alteration_of_the_benchmark_is_found_in_every_trajectory(
    bench: Bench, tmp_path: Path
) -> None:
    script = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks/replay.py"))
    recorded = [
        bench.record(
            tmp_path / str(number),
            tuple(text.replace("6 * 7", f"{number + 3} * 7") for text in _TURNS),
            trajectory_id=f"t{number}",
        )
        for number in range(4)
    ]
    entries = [entry for entry, _ in recorded]
    pictures = ImageStore.open(*(tmp_path / str(number) / "images" for number in range(4)))
    num_made = 0
    for name, alter in script["ALTERATIONS"].items():
        changed = list(script["alter_all"](entries, alter))
        assert len(changed) == len(entries), name
        for entry, original in zip(changed, entries, strict=True):
            assert entry.trajectory != original.trajectory
            found = bench.replay(entry, pictures)
            assert found.outcome is Outcome.DIFFERENT, (name, entry.trajectory)
            num_made += 1
    assert num_made == 8 * 4
