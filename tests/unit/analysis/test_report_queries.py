"""Each number of the report by the query that the report names for it."""

import json
import re
from pathlib import Path

import pytest

from agentic_vlm.store.database import open_parts
from agentic_vlm.store.questions import answer, list_questions
from stages import report

_MADE: list[Path] = []
TITLES = {"base_direct": "base, no tools", "base": "base, tools", "sft": "SFT", "rl": "RL"}


@pytest.fixture
def reported(request) -> Path:
    """Give a project with its report; made once."""
    if not _MADE:
        trained = request.getfixturevalue("trained")
        report.STAGE.execute(report.run, root=trained)
        _MADE.append(trained)
    return _MADE[0]


@pytest.fixture
def page(reported) -> str:
    return (reported / "data/reports/report.md").read_text()


@pytest.fixture
def summary(reported):
    return json.loads((reported / "metrics/summary.json").read_text())


@pytest.fixture
def ask(reported, monkeypatch):
    """Give a function that runs a named query, or one beside the report."""
    monkeypatch.chdir(reported)
    with open_parts(reported, allow_files=True) as connection:

        def run(name):
            path = reported / "data/reports/queries" / f"{name}.sql"
            found = answer(connection, path.read_text() if path.exists() else name, {})
            return [dict(zip(found.columns, row, strict=True)) for row in found.rows]

        yield run


def table(page: str, heading: str) -> list[dict[str, str]]:
    """Return the rows of the first table below a heading."""
    lines = page.partition(f"{heading}\n")[2].partition("\n#")[0].splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|")
    ]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:] if len(row) == len(cells[0])]


def test_every_table_and_figure_names_a_query_that_there_is(page, reported):
    beside = set(re.findall(r"\[\w+\]\(queries/(\w+)\.sql\)", page))
    assert beside == {path.stem for path in (reported / "data/reports/queries").iterdir()}
    lines = re.findall(r"\*Query: (`.*)\*", page)
    named = {name for line in lines for name in re.findall(r"`(\w+)`", line)}
    assert named <= set(list_questions())
    assert {"scores", "score_differences", "score_by_ability", "work_by_stage"} <= named


def test_scores_with_their_intervals_come_out_of_their_query(summary, ask):
    rows = {(row["arm"], row["questions"], row["family"]): row for row in ask("scores")}
    num_compared = 0
    for arm, model in summary["models"].items():
        entries = {(kind, "all"): model[kind] for kind in ("tool", "direct", "all")}
        entries |= {("all", family): kinds["all"] for family, kinds in model["by_family"].items()}
        for (questions, family), entry in entries.items():
            row, share = rows[arm, questions, family], entry["accuracy"]
            for name in ("low", "high"):
                assert row[name] == pytest.approx(share[name], abs=2e-6)
            assert row["accuracy"] == pytest.approx(share["mean"], abs=1e-6)
            assert (row["n"], row["num_ungraded"]) == (share["n"], share["num_ungraded"])
            for name in ("tool_rate", "calls", "failed_calls", "tokens"):
                assert row[name] == pytest.approx(entry[name], abs=1e-6)
            num_compared += 1
    assert num_compared == len(rows) == 4 * 8


def test_abilities_come_out_of_their_query(summary, ask):
    rows = {(row["arm"], row["ability"]): row for row in ask("score_by_ability")}
    for arm, model in summary["models"].items():
        for ability, share in model["realx"].items():
            row = rows.pop((arm, ability))
            assert row["accuracy"] == pytest.approx(share["mean"], abs=1e-6)
            assert row["n"] == share["n"]
    assert not rows


def test_differences_and_their_test_come_out_of_their_query(summary, ask):
    rows = {
        (f"{row['arm']}_minus_{row['minus_arm']}", row["questions"]): row
        for row in ask("score_differences")
    }
    for pair, kinds in summary["paired"].items():
        for questions, gain in kinds.items():
            row = rows[pair, questions]
            assert (row["n"], row["num_gained"], row["num_lost"]) == (
                gain["n"], gain["num_gained"], gain["num_lost"]
            )  # fmt: skip
            assert row["difference"] == pytest.approx(gain["mean"], abs=1e-6)
            assert row["p"] == pytest.approx(gain["p"], abs=1e-6)
    assert len(summary["paired"]) == 6


def test_kinds_of_calls_come_out_of_their_query(page, ask):
    shares = {
        (TITLES[row["model"]], row["family"], row["kind"].replace("_", " ")): row["share"]
        for row in ask("calls_by_kind")
    }
    rows = [{"family": "all", **row} for row in table(page, "### What calls are for")]
    rows += table(page, "### Kinds by family")
    assert len(rows) == 3 + 3 * 5
    for row in rows:
        for kind in ("crop", "numerical", "text search", "placeholder", "error"):
            share = shares.get((row["model"], row["family"], kind), 0.0)
            assert int(row["calls"]) == 0 or row[kind] == f"{100 * share:.1f} %"


def test_combinations_of_calls_come_out_of_their_query(page, ask):
    found = {
        (TITLES[row["model"]], ", then ".join(row["kinds"]).replace("_", " ") or "no call"): row
        for row in ask("combinations")
    }
    rows = table(page, "### Combinations")
    assert len(rows) > 4
    for row in rows:
        one = found[row["model"], row["calls"]]
        assert int(row["answers"]) == one["num_answers"]
        assert row["right"] == f"{100 * one['right_share']:.1f} %"


def test_what_was_left_out_comes_out_of_its_query(page, ask):
    found = {(TITLES[row["model"]], row["calls"]): row for row in ask("left_out")}
    rows = table(page, "### Left out, by number of calls")
    assert len(rows) == len(found)
    for row in rows:
        one = found[row["model"], int(row["calls"].split()[0])]
        assert int(row["episodes"]) == one["num_episodes"]
        assert row["without verdict"] == f"{100 * one['left_out_share']:.1f} %"
        assert int(row["outages"]) == one["num_outages"]


def test_errors_and_changes_come_out_of_their_queries(page, ask):
    found = {(TITLES[row["model"]], row["error"].replace("_", " ")): row for row in ask("errors")}
    rows = table(page, "## Why answers are wrong")
    assert {row["model"] for row in rows} == {"base, tools", "SFT", "RL"}
    for row in rows:
        for name in set(row) - {"model", "wrong"}:
            one = found.get((row["model"], name), {"num_answers": 0, "share": 0.0})
            assert row[name] == f"{one['num_answers']} ({100 * one['share']:.1f} %)"
    moved = {row["family"]: row for row in ask("changes")}
    rows = table(page, "### What RL newly solves and newly breaks")
    assert len(rows) == 10
    for row in rows:
        assert int(row["answers"]) == moved[row["family"]][row["what"].replace(" ", "_")]


def test_the_steps_of_rl_come_out_of_their_query(ask):
    steps = [row for row in ask("rl_steps") if row["family"] == "all"]
    sql = {row["step"]: row for row in ask("calls_over_rl_steps")}
    assert len(steps) == len(sql) == 8
    for row in steps:
        one = sql[row["step"]]
        assert round(row["reward"], 3) == one["mean_reward"]
        assert row["num_rollouts"] == one["num_rollouts"]
        # The index counts calls of rollouts that an outage ended, too.
        num_finished = row["num_rollouts"] * (1 - one["left_out_share"])
        calls = one["calls_per_rollout"] * row["num_rollouts"] / num_finished
        assert row["calls"] == pytest.approx(calls, abs=2e-3)
