"""The content of metrics/summary.json."""

import json
import random

import pytest

from agentic_vlm.evaluation.summary import column_of, summarize


@pytest.fixture
def scores(make_score):
    rows = []
    for number in range(4):
        need = "tool" if number < 2 else "direct"
        flags = ("perception", "search", "reason") if number == 0 else ("perception",)
        own = {"sample_id": f"s{number}", "need": need, "flags": flags}
        rows.append(make_score(**own, mode="direct", verdict="incorrect", num_calls=0))
        rows.append(make_score(**own, verdict="incorrect"))
        rows.append(make_score(**own, model="sft"))
    return rows


def test_plain_names_are_the_agent_mode(scores):
    assert set(summarize(scores, num_bootstrap=100, seed=0)["models"]) == {
        "base", "base_direct", "sft",
    }  # fmt: skip


def test_modes_without_tools_are_columns_of_their_own(make_score):
    rows = [make_score(mode=mode) for mode in ("direct", "think", "agent")]
    names = {column_of(row).removeprefix(rows[0].model) for row in rows}
    assert names == {"_direct", "_think", ""}


def test_every_kind_has_accuracy_and_tool_use(scores):
    sft = summarize(scores, num_bootstrap=100, seed=0)["models"]["sft"]
    assert [sft[kind]["accuracy"]["n"] for kind in ("tool", "direct", "all")] == [2, 2, 4]
    assert (sft["all"]["tool_rate"], sft["all"]["calls"], sft["all"]["failed_calls"]) == (1, 1, 0)


def test_differences_name_both_models(scores):
    paired = summarize(scores, num_bootstrap=100, seed=0)["paired"]
    assert set(paired) == {"sft_minus_base", "sft_minus_base_direct", "base_minus_base_direct"}
    assert paired["sft_minus_base"]["tool"]["mean"] == 1


def test_integration_needs_all_three_flags(scores):
    realx = summarize(scores, num_bootstrap=100, seed=0)["models"]["sft"]["realx"]
    assert {name: share["n"] for name, share in realx.items()} == {
        "average": 4, "perception": 4, "reason": 1, "search": 1, "integration": 1,
    }  # fmt: skip


def test_samples_of_unknown_need_count_in_all_only(make_score):
    base = summarize([make_score(need=None)], num_bootstrap=100, seed=0)["models"]["base"]
    assert base["all"]["accuracy"]["n"] == 1
    assert "tool" not in base


def test_the_order_of_rows_changes_nothing(scores):
    before = json.dumps(summarize(scores, num_bootstrap=100, seed=0))
    random.shuffle(scores)
    assert json.dumps(summarize(scores, num_bootstrap=100, seed=0)) == before


def test_no_answers_give_an_empty_summary():
    assert summarize([], num_bootstrap=100, seed=0) == {"models": {}, "paired": {}}
