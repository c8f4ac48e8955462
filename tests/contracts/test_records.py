"""What records look like on a wire and on disk must not move unseen."""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from agentic_vlm.schema import (
    SCHEMA_VERSION,
    Action,
    CheckpointCard,
    CuratedSample,
    Probe,
    RawSample,
    Rejection,
    Rollout,
    ScoredAnswer,
    Trajectory,
)
from agentic_vlm.store.columns import columns_of

GOLDEN = Path(__file__).with_name("schema.json")
KINDS = (
    RawSample,
    CuratedSample,
    Probe,
    Rejection,
    Trajectory,
    Rollout,
    ScoredAnswer,
    CheckpointCard,
)


def describe() -> dict:
    kinds = {
        kind.__name__: {
            "fields": {
                name: {"type": str(TypeAdapter(field.annotation).json_schema().get("type", "any")),
                       "required": field.is_required()}
                for name, field in kind.model_fields.items()
            },
            "columns": {column.name: str(column.arrow_type) for column in columns_of(kind)},
        }
        for kind in KINDS
    }  # fmt: skip
    return {"schema_version": SCHEMA_VERSION, "records": kinds}


def test_fields_and_columns_are_those_of_the_golden_file(request):
    """Run `pytest tests/contracts --update-golden` after a wanted change, with a new version."""
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(json.dumps(describe(), indent=2) + "\n")
    assert describe() == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_says_what_it_means(kind):
    silent = [name for name, field in kind.model_fields.items() if not field.description]
    assert silent == []


def test_unknown_fields_are_refused(make_sample):
    row = make_sample().model_dump() | {"colour": "red"}
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        CuratedSample.model_validate(row)


def test_a_missing_field_is_refused(make_sample):
    row = make_sample().model_dump()
    del row["answer"]
    with pytest.raises(ValidationError, match="Field required"):
        CuratedSample.model_validate(row)


def test_records_cannot_be_changed(make_sample):
    with pytest.raises(ValidationError, match="frozen"):
        make_sample().answer = "blue"


def test_an_action_is_told_by_its_type():
    action = TypeAdapter(Action).validate_python({"type": "final_answer", "text": "2"})
    assert action.text == "2"
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        TypeAdapter(Action).validate_python({"type": "answer", "text": "2"})


def test_derived_counts_leave_out_calls_that_succeeded(make_trajectory):
    trajectory = make_trajectory()
    assert (trajectory.num_calls, trajectory.num_failed_calls, trajectory.num_tokens) == (1, 0, 8)
