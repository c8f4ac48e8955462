"""The page of findings from its tables alone, and each of its numbers by its query."""

import random
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from agentic_vlm.analysis.calls import CallKind
from agentic_vlm.analysis.dynamics import StepFigures
from agentic_vlm.analysis.findings import GridRun
from agentic_vlm.analysis.grid_tables import Grid, Planned, read_grid_tables, write_grid
from agentic_vlm.errors import AgenticError, ArtifactMissing, RecordError
from agentic_vlm.store.database import open_parts
from agentic_vlm.store.questions import answer
from flows.findings import main
from flows.grid import plan_experiments, read_grid
from flows.recorded import write_page

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
FAMILIES = ("perception", "reasoning", "search", "integration", "text")
ARMS = {"base_direct": "direct", "base": "agent", "sft": "agent", "rl": "agent"}
KINDS = [kind for kind in CallKind if kind is not CallKind.MARK]
_MADE: list[Path] = []


@pytest.fixture
def grid(make_score) -> Grid:
    """Give every experiment of the grid but one, with answers and RL drawn at random."""
    rng = random.Random(0)

    def answers(run, column, mode):
        rows = []
        for number in range(30):
            calls = rng.choice((0, 0, 1, 2, 3)) if mode == "agent" else 0
            stop = "infrastructure" if rng.random() < 0.05 else "answer"
            verdict = rng.choice(("correct", "correct", "incorrect", "ungraded"))
            row = make_score(
                model=column.removesuffix("_direct"), mode=mode, sample_id=f"s{number}",
                trajectory_id=f"{run.name}-{column}-{number}", family=FAMILIES[number % 5],
                need="tool" if number % 3 else "direct",
                verdict="ungraded" if stop == "infrastructure" else verdict, stop_reason=stop,
                num_calls=calls, num_failed_calls=rng.randint(0, calls),
                num_tokens=rng.randint(1, 90), flags=("perception",),
            )  # fmt: skip
            rows.append(row)
            if calls:
                run.kinds[row.trajectory_id] = tuple(rng.choices(KINDS, k=calls))
        run.columns[column] = rows

    def steps():
        for step in range(8):
            values = [rng.random() if rng.random() < 0.9 else None for _ in range(7)]
            yield StepFigures(step, 4, *values, 0.1, rng.random(), {CallKind.CROP: rng.random()})

    experiments = plan_experiments(read_grid(ROOT / "flows/findings.yaml"))
    planned = tuple(Planned(one.name, one.seed, one.variant, one.overrides) for one in experiments)
    runs = tuple(
        GridRun(one.name, one.seed, one.variant, {}, {})
        for one in planned
        if one.name != "seed-2-rejection"
    )
    for run in runs:
        for column, mode in {**ARMS, "rl_direct": "direct"}.items():
            answers(run, column, mode)
    curves = {run.name: list(steps()) for run in runs}
    families = {run.name: {name: list(steps()) for name in FAMILIES[:2]} for run in runs[:7]}
    return Grid("0" * 40, 20, planned, runs, curves, families)


@pytest.fixture
def project(grid, tmp_path_factory, tmp_path) -> Path:
    """Give a project with the tables and the page of the grid; drawn once."""
    if not _MADE:
        made = tmp_path_factory.mktemp("grid")
        (made / "data").mkdir()
        write_grid(grid, made / "findings/tables")
        write_page(made / "findings")
        _MADE.append(made)
    return _MADE[0]


@pytest.fixture
def ask(project, monkeypatch):
    """Give a function that runs a query of the page where the page says that it runs."""
    monkeypatch.chdir(project)
    with open_parts(project, allow_files=True) as connection:

        def run(name):
            sql = (project / "findings/queries" / f"{name}.sql").read_text()
            found = answer(connection, sql, {})
            return [dict(zip(found.columns, row, strict=True)) for row in found.rows]

        yield run


def test_tables_give_back_what_was_written(grid, tmp_path):
    write_grid(grid, tmp_path)
    assert read_grid_tables(tmp_path) == grid


def test_the_page_can_be_made_again_from_its_tables_alone(project, tmp_path):
    copied = tmp_path / "findings"
    shutil.copytree(project / "findings/tables", copied / "tables")
    assert main(["--again", "--root", str(tmp_path)]) == 0
    files = {path.relative_to(copied) for path in copied.rglob("*.*")}
    assert {"findings.md", "findings.json", "training.svg", "findings.png"} <= set(map(str, files))
    for path in files:
        assert (copied / path).read_bytes() == (project / "findings" / path).read_bytes(), path


def test_every_number_of_every_claim_comes_out_of_its_query(project, grid, ask):
    num_compared = 0
    for finding in write_page(project / "findings"):
        claim = finding.claim
        rows = {row["part"]: row for row in ask(claim.key)}
        expected = {f"seed {one.seed}": one.estimate for one in finding.seeds}
        if finding.estimate is not None:
            expected["all seeds"] = finding.estimate
        assert {part for part in rows if not part.startswith("family")} == set(expected), claim.key
        for part, estimate in expected.items():
            assert rows[part]["n"] == estimate.n, (claim.key, part)
            assert rows[part]["difference"] == pytest.approx(estimate.mean, abs=1e-9), claim.key
            num_compared += 1
    assert num_compared > 100


def test_the_families_of_a_reason_come_out_of_the_query_of_its_claim(project, ask):
    page = (project / "findings/findings.md").read_text()
    told = re.findall(r"\*\*(F\d+)\*\* \(.*?\n(?:  - .*\n)*?  - By family: (.*)\.\n", page)
    assert len(told) > 10
    for key, families in told:
        rows = {row["part"]: row for row in ask(key)}
        for family, sign, n in re.findall(r"(\w+) ([+-][\d.]+)(?: points)? \(n (\d+)\)", families):
            row = rows[f"family {family}"]
            assert row["n"] == int(n), key
            scale = 1 if abs(float(sign)) < 1 or "points" not in families else 100
            assert f"{scale * row['difference']:+.1f}"[:4] == sign[:4] or scale == 1, key


def test_scores_of_experiments_come_out_of_their_query(project, grid, ask):
    page = (project / "findings/findings.md").read_text().partition("## Experiments")[2]
    titles = {"base_direct": "base, no tools", "base": "base, tools", "sft": "SFT", "rl": "RL"}
    rows = {(row["experiment"], row["arm"], row["questions"]): row for row in ask("experiments")}
    lines = {
        (cells[0], cells[2]): cells
        for line in page.splitlines()
        if line.startswith("| seed-")
        for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
    }
    num_compared = 0
    for (experiment, arm, questions), row in rows.items():
        if questions == "all" or arm not in titles:
            continue
        cells = lines[experiment, titles[arm]]
        accuracy, calls = (3, 5) if questions == "tool" else (4, 6)
        share = "-" if row["n"] == 0 else f"{100 * row['accuracy']:.1f}"
        assert cells[accuracy].split(" ")[0] == share
        assert cells[calls] == f"{row['calls']:.2f}"
        if questions == "direct":
            assert cells[7] == f"{100 * row['tool_rate']:.1f} %"
        num_compared += 1
    assert num_compared == len(grid.runs) * len(ARMS) * 2


def test_kinds_of_calls_come_out_of_their_query(project, ask):
    page = (project / "findings/findings.md").read_text().partition("## Kinds of calls")[2]
    lines = [line for line in page.partition("## Training")[0].splitlines() if line[:2] == "| "]
    names = [cell.strip() for cell in lines[0].strip("|").split("|")][3:]
    shares = {
        (row["family"], row["arm"].upper(), row["kind"].replace("_", " ")): row["share"]
        for row in ask("kinds")
    }
    assert len(lines) == 2 + 2 * len(FAMILIES)
    for line in lines[2:]:
        family, model, _, *told = (cell.strip() for cell in line.strip("|").split("|"))
        for name, share in zip(names, told, strict=True):
            assert share == f"{100 * shares.get((family, model, name), 0.0):.1f} %"


def test_the_lines_of_the_training_figure_come_out_of_their_query(project, grid, ask):
    rows = {(row["variant"], row["step"]): row for row in ask("training")}
    steps = [grid.curves[f"seed-{seed}-grpo"][3] for seed in (0, 1, 2)]
    for name in ("reward", "calls", "tokens", "surprisal", "flat_groups"):
        known = [value for step in steps if (value := getattr(step, name)) is not None]
        assert rows["grpo", 3][name] == pytest.approx(sum(known) / len(known)), name
    ends = {(row["experiment"], row["part"]): row for row in ask("training_ends")}
    last = [step.accuracy for step in grid.curves["seed-0-grpo"][-5:] if step.accuracy is not None]
    assert ends["seed-0-grpo", "last"]["accuracy"] == pytest.approx(sum(last) / len(last))


def test_rl_by_family_over_the_seeds_comes_out_of_its_query(project, grid, ask):
    page = (project / "findings/findings.md").read_text()
    lines = page.partition("### By family\n")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    found = {(row["variant"], row["family"], row["part"]): row for row in ask("training_families")}
    variants = {run.variant for run in grid.runs if run.name in grid.families}
    assert len(found) == 2 * len(cells[2:]) == 2 * 2 * len(variants)
    assert ["grpo", "perception", "3"] in [row[:3] for row in cells]
    for variant, family, num_seeds, *told in cells[2:]:
        first, last = (found[variant, family, part] for part in ("first", "last"))
        assert first["num_seeds"] == last["num_seeds"] == int(num_seeds)
        for name, text in zip(cells[0][3:], told, strict=True):
            key = name.replace(" ", "_")
            assert text == f"{first[key]:.2f} -&gt; {last[key]:.2f}", (variant, family, name)


def test_tables_that_are_missing_or_damaged_are_named(project, tmp_path, capsys):
    assert main(["--again", "--root", str(tmp_path)]) == 1
    assert "--report` writes the tables again" in capsys.readouterr().err
    with pytest.raises(ArtifactMissing):
        read_grid_tables(tmp_path)
    shutil.copytree(project / "findings/tables", tmp_path / "tables")
    path = tmp_path / "tables/answers.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["kinds"]), path)
    with pytest.raises(RecordError, match="columns are those of another version"):
        read_grid_tables(tmp_path / "tables")
    path.write_bytes(b"PAR1")
    with pytest.raises(AgenticError, match=r"answers\.parquet"):
        read_grid_tables(tmp_path / "tables")
