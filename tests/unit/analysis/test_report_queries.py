"""Each number of the report by the query that the report names for it."""

import json
import re
from pathlib import Path

import pytest

from agentic_vlm.analysis.dynamics import pass_counts
from agentic_vlm.schema import Probe, Rejection, RejectReason
from agentic_vlm.store import iter_records, write_records
from agentic_vlm.store.database import open_parts
from agentic_vlm.store.questions import answer, list_questions
from stages import report

_MADE: list[Path] = []
PARTS = ("first", "last")
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
    folder = reported / "data/reports"
    pages = [page, *(path.read_text() for path in (folder / "models").iterdir())]
    beside = set(re.findall(r"\[\w+\]\((?:\.\./)?queries/(\w+)\.sql\)", "\n".join(pages)))
    assert beside == {path.stem for path in (folder / "queries").iterdir()}
    # A section that shows a table or a figure names at least one query.
    for text in pages:
        for section in re.split(r"^##+ ", text, flags=re.M)[1:]:
            if re.search(r"^(\|---|!\[)", section, flags=re.M):
                assert "*Query: " in section, section.splitlines()[0]
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


def test_the_ends_of_rl_by_family_come_out_of_their_queries(page, ask):
    found = {(row["family"], row["part"]): row for row in ask("rl_ends")}
    kinds = {(row["family"], row["part"], row["kind"]): row["calls"] for row in ask("rl_kinds")}
    ends = table(page, "### RL by family")
    lines = page.partition("Calls per rollout, by what they are for:")[2].partition("*Query")[0]
    calls = table(f"# calls\n{lines}", "# calls")
    assert [row["family"] for row in ends] == [row["family"] for row in calls]
    assert {row["family"] for row in ends} == {"perception", "reasoning", "search"}
    for row in ends:
        for name in set(row) - {"family"}:
            told = row[name].split(" -&gt; ")
            values = [found[row["family"], part][name.replace(" ", "_")] for part in PARTS]
            assert told == ["-" if value is None else f"{value:.2f}" for value in values], name
    for row in calls:
        for name in set(row) - {"family"}:
            key = name.replace(" ", "_")
            values = [kinds.get((row["family"], part, key), 0.0) for part in PARTS]
            assert row[name].split(" -&gt; ") == [f"{value:.2f}" for value in values], name


def test_what_crops_showed_comes_out_of_its_query(page, ask):
    found = {TITLES[row["model"]]: row for row in ask("crops")}
    rows = table(page, "### What crops showed")
    assert {row["model"] for row in rows} == set(found) == {"base, tools", "SFT", "RL"}
    for row, cells in zip(rows, crop_cells(page), strict=True):
        one = found[row["model"]]
        shares = ("evident_share", "right_if_seen", "right_if_unseen")
        evident, seen, unseen = (f"{100 * one[name]:.1f} %" for name in shares)
        counts = (one["num_crops"], one["num_seen"], one["num_unseen"])
        assert cells[1:] == [
            str(int(counts[0])), evident, str(counts[1]), seen, str(counts[2]), unseen
        ]  # fmt: skip


def crop_cells(page):
    """Return the cells of the table of crops, two of whose columns have one name."""
    lines = page.partition("### What crops showed\n")[2].partition("*Query")[0].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_passes_of_the_probe_come_out_of_their_query(reported, ask):
    counts = pass_counts(iter_records(reported / "data/probes/records", Probe))
    rows = ask("probe_passes")
    assert set(counts) == {row["mode"] for row in rows} == {"agent", "direct"}
    for mode, count in counts.items():
        own = [row for row in rows if row["mode"] == mode]
        assert tuple(row["num_at_least"] for row in own) == count.at_least
        assert tuple(row["num_at_most"] for row in own) == count.at_most
        assert sum(row["num_open"] for row in own) == count.num_open > 0


def test_figures_of_benchmarks_come_out_of_their_queries(reported, summary, ask):
    rows = ask("benchmarks")
    shown = 0
    for model in TITLES:
        page = (reported / f"data/reports/models/{model}.md").read_text()
        for row in [row for row in rows if row["model"] == model and row["mean"] is not None]:
            interval = f"({100 * row['low']:.1f}-{100 * row['high']:.1f})"
            told = rf"{re.escape(row['name'])} +{100 * row['mean']:.1f} % {re.escape(interval)}"
            assert re.search(rf"^{told} +n={row['n']}\b", page, flags=re.M), (model, row)
            shown += 1
    assert shown > 8
    overall = {(row["model"], row["suite"]): row for row in ask("benchmark_overall")}
    for model, entry in summary["models"].items():
        row, share = overall[model, "pocket"], entry["all"]["accuracy"]
        assert row["share"] == pytest.approx(share["mean"], abs=1e-6)
        assert (row["n"], row["num_ungraded"]) == (share["n"], share["num_ungraded"])


def test_endings_come_out_of_their_query(reported, ask):
    found: dict[tuple[str, str, str], int] = {}
    for row in ask("endings"):
        key = (row["model"], row["stop_reason"], row["verdict"])
        found[key] = found.get(key, 0) + row["num_episodes"]
    for model in TITLES:
        page = (reported / f"data/reports/models/{model}.md").read_text()
        rows = table(page, "## How episodes ended")
        assert rows
        for row in rows:
            assert int(row["episodes"]) == found.pop((model, row["ended"], row["verdict"]))
    assert not found


def test_rows_of_each_stage_come_out_of_their_query(page, ask):
    rows = {row["rows_of"].split(":")[0]: row["num_rows"] for row in ask("rows_by_stage")}
    told = {row["stage"]: row["number"] for row in table(page, "## Data")}
    for stage in ("curate", "probe", "train_rl"):
        assert told[stage] == str(rows[stage])
    pools = {row["rows_of"]: row["num_rows"] for row in ask("rows_by_stage")}
    assert (pools["allocate: sft"], pools["allocate: rl"]) == (2, 4)


def test_scores_without_twins_come_out_of_their_query(request, tmp_path, monkeypatch):
    trained = request.getfixturevalue("trained")
    evidence = (
        "equals pocket/world:3", "picture 0 of x is that of pocket/world:7",
        "shares 14 words with pocket/world:11", "asks nearly what pocket/world:12 asks: 1 == 1",
        "equals pocket/gone:1",
    )  # fmt: skip
    twins = [
        Rejection(stage="curate", row_id=str(n), reason=RejectReason.CONTAMINATED, evidence=text)
        for n, text in enumerate(evidence)
    ]
    folder = trained / "data/curated/rejections"
    write_records(folder, twins, Rejection, key=lambda row: (row.row_id,))
    report.STAGE.execute(report.run, root=trained)
    page = (trained / "data/reports/report.md").read_text()
    monkeypatch.chdir(trained)
    sql = (trained / "data/reports/queries/contamination.sql").read_text()
    with open_parts(trained, allow_files=True) as connection:
        answered = answer(connection, sql, {})
    found = {
        (one["suite"], TITLES[one["model"]]): one
        for one in (dict(zip(answered.columns, row, strict=True)) for row in answered.rows)
    }
    told = page.partition("### Contamination\n")[2].partition("*Query")[0].splitlines()
    lines = [line.strip("|") for line in told if line.startswith("| pocket")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert len(rows) == len(found) == 4
    for suite, model, num_twins, whole, n, rest, n_rest in rows:
        one = found[suite, model]
        assert int(num_twins) == one["num_twins"] == 4
        assert whole.startswith(f"{100 * one['accuracy']:.1f} (")
        assert rest.startswith(f"{100 * one['accuracy_without']:.1f} (")
        assert (int(n), int(n_rest)) == (one["n"], one["n_without"])
