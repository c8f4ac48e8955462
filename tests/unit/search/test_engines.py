"""Which provider the params name, and what it misses."""

import asyncio
from pathlib import Path

import pytest

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.params import SearchParams
from agentic_vlm.search import (
    FlakySearch,
    LiveSearch,
    LocalSearch,
    RecordedSearch,
    build,
    find_missing,
)
from agentic_vlm.search.answers import Answer, AnswerStore
from agentic_vlm.search.split import SplitSearch

VARIABLES = (
    "SERPER_API_KEY",
    "SERPAPI_API_KEY",
    "BRAVE_API_KEY",
    "AGENTIC_SEARCH_URL",
    "AGENTIC_PICTURE_HOST_URL",
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def params(**changes: object) -> SearchParams:
    return SearchParams.model_validate(changes)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, LocalSearch),
        ({"type": "serper"}, LiveSearch),
        ({"type": "serpapi", "pictures": "same"}, LiveSearch),
        ({"type": "brave", "recording": "record_missing"}, RecordedSearch),
        ({"type": "json", "recording": "replay"}, RecordedSearch),
        ({"type": "serper", "pictures": "recorded"}, SplitSearch),
        ({"type": "serper", "pictures": "serper"}, LiveSearch),
        ({"outage_share": 0.1}, FlakySearch),
    ],
)
def test_the_params_choose_the_provider_and_nothing_is_opened(
    changes: dict[str, object], kind: type, tmp_path: Path
) -> None:
    provider = build(params(**changes), corpus=tmp_path / "corpus")
    assert type(provider) is kind
    asyncio.run(provider.close())
    assert list(tmp_path.iterdir()) == []


def test_a_json_server_needs_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SearchUnavailable, match="AGENTIC_SEARCH_URL"):
        build(params(type="json"), corpus=tmp_path)
    monkeypatch.setenv("AGENTIC_SEARCH_URL", "http://127.0.0.1:1/search")
    assert isinstance(build(params(type="json"), corpus=tmp_path), LiveSearch)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, []),
        ({"type": "brave", "pictures": "recorded"}, ["BRAVE_API_KEY"]),
        ({"type": "serper"}, ["SERPER_API_KEY", "AGENTIC_PICTURE_HOST_URL"]),
        ({"type": "serper", "pictures": "recorded"}, ["SERPER_API_KEY"]),
        ({"type": "local", "pictures": "json"}, ["AGENTIC_SEARCH_URL"]),
    ],
)
def test_what_the_environment_misses_is_named(
    changes: dict[str, object], missing: list[str], corpus: Path
) -> None:
    AnswerStore(corpus.parent / "search_answers").add(Answer("text", "{}", 1, ()))
    found = find_missing(params(**changes), corpus=corpus)
    assert [error.where for error in found] == missing


@pytest.mark.parametrize("changes", [{"recording": "replay"}, {"pictures": "recorded"}])
def test_a_replay_without_stored_answers_is_named(changes: dict[str, object], corpus: Path) -> None:
    folder = corpus.parent / "search_answers"
    (error,) = find_missing(params(**changes), corpus=corpus)
    assert str(error) == (
        f"{folder}: no stored answers, and params.yaml wants them replayed\n"
        "  fix: run once with search.recording record_missing, or `dvc pull` the folder"
    )
    AnswerStore(folder).add(Answer("text", "{}", 1, ()))
    assert list(find_missing(params(**changes), corpus=corpus)) == []


def test_nothing_is_missed_where_all_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    for engine in ("serper", "serpapi", "brave", "json"):
        assert list(find_missing(params(type=engine), corpus=tmp_path / "corpus")) == []
