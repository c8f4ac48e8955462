"""MMSearch: the agent papers' share of questions, and the authors' score of four tasks."""

import asyncio
import io

import pytest
from PIL import Image

from agentic_vlm.errors import RecordError
from agentic_vlm.evaluation.run import grade_trajectories, iter_scores
from agentic_vlm.evaluation.suites import SUITES
from agentic_vlm.evaluation.suites.item import label_of, to_sample
from agentic_vlm.grading import Mode, Reference, Rule, grade_by_rule
from agentic_vlm.grading.mmsearch import bleu_1, rouge_l
from agentic_vlm.params import GradingParams
from agentic_vlm.schema import Verdict


def test_mmsearch_headline_is_the_questions_with_a_picture(parquet, read, figures_of, pictures):
    common = {"query": "When?", "gt_answer": "2024", "area": "news", "subfield": "x",
              "timestamp": "2024-07", "gt_requery": "when"}  # fmt: skip
    rows = [
        {"sample_id": "1", "query_image": {"bytes": pictures.encoded("red"), "path": None},
         "alternative_gt_answers": ["in 2024"], **common},
        {"sample_id": "2", "query_image": None, "alternative_gt_answers": None, **common},
    ]  # fmt: skip
    first, second = read("mmsearch", parquet("end2end.parquet", *rows))
    assert (first.aliases, second.aliases, second.images) == (("in 2024",), (), ())
    figures = figures_of(
        "mmsearch",
        ({"picture": "yes"}, True),
        ({"picture": "no"}, False),
        ({"picture": "no"}, False),
    )
    assert (figures["with a picture"].mean, figures["with a picture"].n) == (1.0, 1)
    assert figures["all questions"].n == 3


@pytest.fixture
def folder(parquet, tmp_path, pictures):
    """Give the folder of the three published files, with one question that has a picture."""

    def picture(colour, size=None):
        if size is None:
            return {"bytes": pictures.encoded(colour), "path": None}
        stream = io.BytesIO()
        Image.new("RGB", size, colour).save(stream, format="PNG")
        return {"bytes": stream.getvalue(), "path": None}

    common = {"sample_id": "7", "query": "Who won?", "query_image": picture("red"), "area": "news",
              "subfield": "sports", "timestamp": "2024-07", "gt_answer": "Marie Curie",
              "image_search_result": picture("blue"),
              "alternative_gt_answers": ["Curie"]}  # fmt: skip
    parquet("mm/end2end.parquet", {**common, "gt_requery": "winner of the prize 2024"})
    websites = {
        name: cell
        for number in range(8)
        for name, cell in {
            f"website{number}_info": {"title": f"T{number}", "snippet": f"S{number}", "url": "u"},
            f"website{number}_head_screenshot": picture("green"),
        }.items()
    }
    parquet("mm/rerank.parquet", {
        **common, "valid": [2, 4], "not_sure": [0], "invalid": [1, 3, 5, 6, 7], **websites,
    })  # fmt: skip
    parquet("mm/summarization.parquet", {
        **common, "website_title": "Prize", "website_snippet": "on it",
        "website_retrieved_content": "She won.",
        "website_fullpage_screenshot": picture("grey", (40, 1100)),
    })  # fmt: skip
    return tmp_path / "mm"


def test_the_three_files_give_four_tasks(folder, read):
    items = {item.labels["task"]: item for item in read("mmsearch_authors", folder)}
    assert list(items) == ["end2end", "requery", "rerank", "summarization"]
    assert {item.labels["query"] for item in items.values()} == {"7"}
    assert {name: len(item.images) for name, item in items.items()} == {
        "end2end": 1, "requery": 2, "rerank": 10, "summarization": 5,
    }  # fmt: skip
    end = items["end2end"]
    assert (end.answer, end.aliases) == ("Marie Curie", ("Curie",))
    assert "yyyy-mm-dd" in end.question
    assert "image_2 what an image search found" in items["requery"].question
    assert "Website 8 title: T7" in items["rerank"].question
    # Two pictures belong to the question, so the first screenshot is the third one.
    assert "Website 1 screenshot: image_3" in items["rerank"].question
    # Published indices count from 0, the websites in the prompt from 1.
    assert items["rerank"].answer == "<Website 3>, <Website 5>"
    assert items["rerank"].options == ("<Website 1>",)
    assert "Website content: She won." in items["summarization"].question


def test_a_page_is_shown_in_slices_that_can_be_read(folder, read):
    summary = read("mmsearch_authors", folder)[-1]
    sizes = [Image.open(io.BytesIO(encoded)).size for encoded in summary.images[2:]]
    assert sizes == [(40, 512), (40, 512), (40, 76)]


def test_the_files_of_other_tasks_are_no_questions_of_the_agent_papers(folder, read):
    """A folder with all three files asks each question once."""
    (item,) = read("mmsearch", folder)
    assert item.item_id == "7"


def test_indices_that_are_none_name_the_row(parquet, read):
    row = {"sample_id": "1", "query": "q", "gt_answer": "a", "website0_info": {"title": "t"},
           "valid": ["first"]}  # fmt: skip
    with pytest.raises(RecordError, match="field 'valid': no list of indices"):
        read("mmsearch_authors", parquet("rerank.parquet", row))


@pytest.mark.parametrize(
    ("given", "wanted", "bleu", "rouge"),
    [
        # Computed with nltk 3.9.1 (method1, weights 1 0 0 0) and rouge 1.0.1.
        ("iPhone release date", "iPhone 16 release date", 0.7165313105737893, 0.8571428522448981),
        ("16 date", "iPhone 16 release date", 0.36787944117144233, 0.6666666622222223),
        # Letter case counts, order counts for ROUGE-L only.
        ("IPHONE 16", "iPhone 16 release date", 0.18393972058572117, 0.33333332888888895),
        ("date release 16 iPhone", "iPhone 16 release date", 1.0, 0.24999999500000009),
        ("x", "y", 0.0, 0.0),
    ],
)
def test_requery_measures_are_those_of_the_packages(given, wanted, bleu, rouge):
    assert bleu_1(given, wanted) == pytest.approx(bleu, abs=1e-9)
    assert rouge_l(given, wanted) == pytest.approx(rouge, abs=1e-6)
    grade = grade_by_rule(Rule.REQUERY, given, Reference(wanted), mode=Mode.OFFICIAL)
    assert grade.score == pytest.approx((bleu + rouge) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("<Website 3>", 1.0),
        ("I take <Website 5>.", 1.0),
        ("<Website 1>", 0.5),
        ("<Website 2>", 0.0),
        # The authors' example of the form counts from 0, and -1 is in none of their lists.
        ("<Website 0>", 0.0),
        # Two websites are no choice, even two helpful ones; a bare number has not the form.
        ("<Website 3>,<Website 5>", 0.0),
        ("3", 0.0),
        ("Website 3", 0.0),
        ("<Website 33>", 0.0),
    ],
)
def test_rerank_takes_one_website_in_its_form(answer, score):
    reference = Reference("<Website 3>, <Website 5>", options=("<Website 1>",))
    for mode in Mode:
        assert grade_by_rule(Rule.RERANK, answer, reference, mode=mode).score == score


class Refusing:
    """A judge that must not be asked."""

    async def judge(self, question, *, answer, references):
        raise AssertionError("the authors' score has no judge")


@pytest.fixture
def score(folder, read, make_trajectory):
    """Give a function from answers by task to scored answers."""

    def run(mode=Mode.OFFICIAL, **answers):
        samples = {
            item.labels["task"]: to_sample(item, (), suite="mmsearch_authors", family="search")
            for item in read("mmsearch_authors", folder)
            if item.labels["task"] in answers
        }
        rows = []
        for task, answer in answers.items():
            first, last = make_trajectory().turns
            turns = (first, last.model_copy(update={"text": f"<answer>{answer}</answer>"}))
            rows.append(
                make_trajectory(
                    trajectory_id=task, sample_id=samples[task].sample_id, answer=answer,
                    turns=turns,
                )
            )  # fmt: skip
        by_id = {sample.sample_id: sample for sample in samples.values()}
        work = grade_trajectories(rows, by_id, judge=Refusing(), params=GradingParams(), mode=mode)
        graded = asyncio.run(work)
        return list(iter_scores(graded, {"mmsearch_authors": list(by_id.values())}, model="m"))

    return run


ANSWERS = {
    "end2end": "Curie, Marie Sklodowska", "requery": "winner of the prize",
    "rerank": "<Website 1>", "summarization": "the Curie.",
}  # fmt: skip


@pytest.mark.parametrize("mode", list(Mode))
def test_the_score_weighs_four_measures(score, mode):
    scores = score(mode, **ANSWERS)
    measures = {label_of(row, "task"): float(label_of(row, "score")) for row in scores}
    wanted_query = "winner of the prize 2024"
    requery = sum(one(ANSWERS["requery"], wanted_query) for one in (bleu_1, rouge_l)) / 2
    # Two of three words of the answer are the two of the gold; articles and points do not count.
    assert measures == pytest.approx(
        {"end2end": 0.8, "requery": requery, "rerank": 0.5, "summarization": 1.0}, abs=1e-5
    )
    figures = {found.name: found for found in SUITES["mmsearch_authors"].aggregate(scores)}
    wanted = 0.75 * 0.8 + 0.05 * requery + 0.1 * 0.5 + 0.1 * 1.0
    assert figures["score"].mean == pytest.approx(wanted, abs=1e-5)
    assert (figures["score"].n, figures["news"].mean) == (1, figures["score"].mean)
    assert figures["end-to-end F1"].mean == pytest.approx(0.8, abs=1e-5)


def test_without_one_of_the_tasks_there_is_no_score(score):
    scores = score(**{task: answer for task, answer in ANSWERS.items() if task != "rerank"})
    figures = {found.name: found for found in SUITES["mmsearch_authors"].aggregate(scores)}
    assert figures["score"].mean is None
    assert figures["rerank"].mean is None
    assert figures["summarization F1"].mean == pytest.approx(1.0)


def test_no_answer_is_worth_nothing(score):
    (row,) = score(end2end=None)
    assert (row.verdict, label_of(row, "score")) == (Verdict.INCORRECT, "0.000000")
