"""Rules of the tree that no single module can see."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from agentic_vlm.params import merge_params, parse_params, read_yaml

ROOT = Path(__file__).parents[2]
PACKAGES = ("agentic_vlm", "stages", "flows")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
RECIPES = sorted((ROOT / "flows" / "recipes").glob("*.yaml"))

MAX_LINES = 300
LONG_MODULES: dict[str, str] = {}
"""Modules that may be longer, each with its reason."""

BROAD_EXCEPT = ("agentic_vlm/agent/batch.py", "agentic_vlm/stage.py", "flows/")
"""One episode, one stage, one flow task: each records and goes on or stops."""

FORBIDDEN = {
    r"\.executemany\(": "a thousand times slower than Arrow tables",
    r"pickle\.loads?\(": "runs what it reads",
    r"(?<![\w.])eval\(": "runs what it reads",
    r"\b(?:TODO|FIXME|XXX)\b": "finish it or leave it out",
    r"NotImplementedError": "finish it or leave it out",
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_imports_go_down_only():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("package", ["schema", "params", "store", "vision", "stage"])
def test_light_packages_import_no_model_library(package):
    code = (
        f"import sys, agentic_vlm.{package}\n"
        "heavy = {'torch', 'transformers', 'trl', 'prefect', 'dvc'} & set(sys.modules)\n"
        "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_duckdb_is_not_imported_with_the_store():
    code = "import sys, agentic_vlm.store; sys.exit('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_modules_stay_short():
    lines = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    long = {name: count for name, count in lines.items() if count > MAX_LINES}
    assert set(long) == set(LONG_MODULES), f"split by noun, or name the reason: {long}"


@pytest.mark.parametrize("pattern", sorted(FORBIDDEN))
def test_forbidden_words_stay_out(pattern):
    found = [name_of(path) for path in MODULES if re.search(pattern, path.read_text())]
    assert not found, f"{FORBIDDEN[pattern]}: {found}"


def test_only_command_lines_print():
    pattern = re.compile(r"^\s*print\(", re.MULTILINE)
    modules = [path for path in MODULES if path.name != "__main__.py"]
    assert [name_of(path) for path in modules if pattern.search(path.read_text())] == []


def test_broad_excepts_stand_in_three_places_only():
    pattern = re.compile(r"except( Exception| BaseException)?( as \w+)?:")
    found = [name_of(path) for path in MODULES if pattern.search(path.read_text())]
    assert [name for name in found if not name.startswith(BROAD_EXCEPT)] == []


def test_no_stage_imports_prefect():
    pattern = re.compile(r"^\s*(import|from) prefect", re.MULTILINE)
    stages = (ROOT / "stages").glob("*.py")
    assert [name_of(path) for path in stages if pattern.search(path.read_text())] == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads(recipe):
    merged = merge_params(read_yaml(ROOT / "params.yaml"), read_yaml(recipe))
    parse_params(merged, where=recipe.name)


def test_every_query_is_lower_case_sql_with_a_question_and_an_order():
    for path in (ROOT / "agentic_vlm" / "store" / "queries").glob("*.sql"):
        first, *sql = path.read_text().splitlines()
        assert first.startswith("-- "), name_of(path)
        assert first.endswith("?"), name_of(path)
        assert "order by" in "\n".join(sql), name_of(path)
