"""What the README says about the tree, the commands and the documents is true."""

import re
from pathlib import Path

import pytest

from flows.params import list_recipes

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def tree_lines() -> list[tuple[int, str]]:
    """Return depth and path of each line of the tree."""
    text = (ROOT / "README.md").read_text()
    block = text[text.index("## Tree") :].split("```")[1]
    rows = [re.match(r"( *)(\S+) ", line) for line in block.strip("\n").splitlines()]
    return [(len(row[1]) // 2, row[2]) for row in rows if row is not None]


def tree_paths() -> list[str]:
    paths, parents = [], [""]
    for depth, name in tree_lines():
        parents[depth + 1 :] = [parents[depth] + name]
        paths.append(parents[depth] + name)
    return paths


def test_every_path_of_the_tree_is_there():
    assert len(tree_paths()) > 30
    assert [path for path in tree_paths() if not (ROOT / path).exists()] == []


def test_every_package_and_module_of_the_library_is_in_the_tree():
    entries = {
        f"agentic_vlm/{path.name}{'/' if path.is_dir() else ''}"
        for path in (ROOT / "agentic_vlm").iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or any(path.glob("*.py")))
    }
    assert entries - set(tree_paths()) == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document):
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_name_modules_that_exist(document):
    modules = set(
        re.findall(r"python -m ((?:stages|flows|agentic_vlm)[a-z_.]*)", document.read_text())
    )
    places = [ROOT / module.strip(".").replace(".", "/") for module in modules]
    missing = [
        place.name
        for place in places
        if not place.with_suffix(".py").exists() and not (place / "__main__.py").exists()
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_recipes_that_are_applied_exist(document):
    named = re.findall(r"python -m flows\.params ([a-z0-9_]+)(?![\w/.])", document.read_text())
    assert set(named) <= set(list_recipes())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_targets_of_make_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE)
    assert set(named) <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_in_backticks_exist(document):
    named = re.findall(r"`((?:agentic_vlm|stages|flows|tests|docs)/[\w/.]+)`", document.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_named_query_is_in_the_document_about_sql():
    text = (ROOT / "docs" / "sql.md").read_text()
    queries = (ROOT / "agentic_vlm" / "store" / "queries").glob("*.sql")
    assert [path.stem for path in queries if f"`{path.stem}`" not in text] == []
