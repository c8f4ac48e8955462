import asyncio
import re
from dataclasses import replace

import pytest

from agentic_vlm.params import Params, ScriptedTeacher, SearchParams, VisionParams
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.schema import AnswerType, CuratedSample, Need, ObservationStatus, content_id
from agentic_vlm.search.base import ImageHit, TextHit
from agentic_vlm.search.fake import FakeSearch, picture_key
from agentic_vlm.store import ImageStore, ImageWriter
from agentic_vlm.synthesis.crew import build_crew
from agentic_vlm.synthesis.slips import Conduct, choose_conduct, rng_of
from agentic_vlm.synthesis.synthesize import SynthesisWork, write_trajectories
from agentic_vlm.tools.toolbox import Toolkit
from agentic_vlm.world.drawing import NUM_CELLS, cell_box
from agentic_vlm.world.entities import article_text, build_entities
from agentic_vlm.world.samples import FAMILIES, make_sample

ENTITIES = build_entities(0, num_entities=40, held_out_share=0.25)


def code_answers(picture, solution):
    """The cells that a correct sandbox would answer."""
    answers = {}
    for step in solution:
        if step.text and step.kind == "compute":
            answers[f"print({step.text})"] = CellResult(CellStatus.OK, stdout=f"{step.reads}\n")
    for column in range(NUM_CELLS if picture is not None else 0):
        for row in range(NUM_CELLS):
            box = cell_box((column, row))
            code = f"image_1.crop(({','.join(map(str, box))}))"
            answers[code] = CellResult(CellStatus.OK, images=(picture.crop(box),))
    return answers


def search_of(picture, *, shift=0):
    hits = {}
    for entity in ENTITIES:
        text = article_text(replace(entity, founded=entity.founded + shift))
        hit = TextHit(entity.name, "", text)
        for query in (f"{entity.name} founded", f"{entity.name} members", f"code {entity.code}"):
            hits[query] = [hit]
    return FakeSearch(hits, image_hits=picture)


@pytest.fixture
def play(tmp_path):
    """Run the teacher on one world sample and return sample, trajectory and conduct."""

    def run(family, index, *, need=Need.TOOL, shift=0, attempts=1, **rates):
        made = make_sample(
            3, split="train", family=family, need=need, index=index, entities=ENTITIES
        )
        folder = tmp_path / f"{family}{index}{need}"
        writer = ImageWriter(folder / "raw")
        refs = () if made.picture is None else (writer.add(made.picture),)
        writer.close()
        question = made.question
        sample = CuratedSample(
            sample_id=content_id(question.text, question.answer, made.row_id),
            source="world",
            source_row_id=made.row_id,
            split="train",
            family=family,
            need=need,
            question=question.text,
            answer=question.answer,
            answer_type=question.answer_type or AnswerType.TEXT,
            images=refs,
            solution=question.solution,
        )
        pictures = {}
        names = [step.reads for step in question.solution if step.kind == "image_search"]
        if names:
            pictures = {picture_key(made.picture): [ImageHit(f"{names[0]} emblem", "", b"")]}
        params = Params()
        teacher = ScriptedTeacher(**{"mistake_rate": 0.0, "recovery_rate": 0.0, **rates})
        section = params.synthesize.model_copy(
            update={"teacher": teacher, "num_attempts": attempts}
        )
        params = params.model_copy(update={"synthesize": section})
        kit = Toolkit(
            agent=params.agent,
            vision=VisionParams(),
            search=SearchParams(),
            sandbox=FakeSandbox(code_answers(made.picture, question.solution)),
            provider=search_of(pictures, shift=shift),
        )
        work = SynthesisWork(folder / "scratch", folder / "images")
        asyncio.run(
            write_trajectories(
                [sample],
                crew=build_crew(params, [sample], scratch=folder / "scratch"),
                kit=kit,
                store=ImageStore.open(folder / "raw"),
                work=work,
                params=params,
                on_done=lambda count: None,
            )
        )
        return sample, list(work.trajectories)

    return run


CASES = [(family, index) for family in FAMILIES for index in range(4)]


@pytest.mark.parametrize(("family", "index"), CASES)
def test_a_clean_teacher_is_right_and_makes_one_call_per_step(play, family, index):
    sample, (trajectory,) = play(family, index)
    assert trajectory.answer == sample.answer
    assert trajectory.num_calls == len(sample.solution)
    assert trajectory.num_failed_calls == 0


def test_texts_continue_the_prefill(play):
    _, (trajectory,) = play("integration", 0)
    first, *later = trajectory.turns
    assert first.text.startswith("<think>")
    assert first.prefill == ""
    assert all(turn.prefill == "<think>" and "<think>" not in turn.text for turn in later)


def test_direct_questions_are_answered_at_once(play):
    sample, (trajectory,) = play("perception", 0, need=Need.DIRECT)
    assert trajectory.turns[0].text == f"<think>Easy.</think><answer>{sample.answer}</answer>"


@pytest.mark.parametrize(
    ("family", "index"), [c for c in CASES if c[0] in ("search", "perception")]
)
def test_a_recovery_makes_one_more_call_without_error_and_is_right(play, family, index):
    sample, (trajectory,) = play(family, index, recovery_rate=1.0)
    assert trajectory.answer == sample.answer
    assert trajectory.num_calls == len(sample.solution) + 1
    assert trajectory.num_failed_calls == 0
    assert re.search("There is no label|wrong plate|That is not it", str(trajectory.turns))


@pytest.mark.parametrize("index", range(4))
def test_nobody_doubts_a_number_that_looks_like_any_other(play, index):
    for family in ("reasoning", "text"):
        sample, (trajectory,) = play(family, index, recovery_rate=1.0)
        assert trajectory.answer == sample.answer
        assert trajectory.num_calls == len(sample.solution) == 1


@pytest.mark.parametrize("index", range(8))
def test_values_are_noted_before_they_are_computed_with(play, index):
    _, (trajectory,) = play("reasoning", index)
    notes, code = trajectory.turns[0].text.split(" Compute it.")
    noted = re.findall(r"[a-z] ([\d*]+)", notes)
    assert noted == re.findall(r"\d+\*\d+|\d+", code) or "*".join(noted) in code


def test_a_fault_of_a_tool_shows_in_the_answer(play):
    sample, (trajectory,) = play("integration", 1, shift=7)
    assert trajectory.answer != sample.answer


def test_mistakes_are_wrong_or_bad_code_or_placeholders(play):
    conducts = set()
    for index in range(4):
        sample, trajectories = play("perception", index, mistake_rate=1.0, attempts=6)
        for trajectory in trajectories:
            rng = rng_of(0, sample.sample_id, trajectory.attempt)
            conduct = choose_conduct(rng, sample, mistake_rate=1.0, recovery_rate=0.0)
            conducts.add(conduct)
            has_error = trajectory.num_failed_calls > 0
            if conduct is Conduct.BROKEN_CODE:
                assert has_error
            elif conduct is not Conduct.PLACEHOLDER:
                assert trajectory.answer != sample.answer
    assert conducts == {
        Conduct.WRONG,
        Conduct.BROKEN_CODE,
        Conduct.PLACEHOLDER,
        Conduct.GIVE_UP,
    }


def test_equal_seeds_give_equal_trajectories(play, tmp_path):
    first = play("integration", 2, recovery_rate=1.0)
    second = play("integration", 2, recovery_rate=1.0)
    assert first == second


def test_finished_trajectories_are_not_run_again(play):
    _, before = play("search", 0)
    _, after = play("search", 0)
    assert len(before) == len(after) == 1
    assert all(
        turn.observation is None or turn.observation.status is ObservationStatus.OK
        for turn in after[0].turns
    )
