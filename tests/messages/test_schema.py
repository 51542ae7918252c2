"""The shipped schema is that of the models, and is strict enough to notice a wrong message."""

import json

import jsonschema
import pytest

from raysearch import messages
from raysearch.messages.schema import json_schema

from .messages import read_lines, shipped_schema

ADVICE = "write it again: python -m raysearch.messages.schema > raysearch/messages/schema.json"


def test_the_shipped_schema_is_that_of_the_models() -> None:
    assert shipped_schema() == json_schema(), ADVICE


def test_the_schema_is_a_valid_one() -> None:
    jsonschema.Draft202012Validator.check_schema(shipped_schema())


def test_numbers_that_are_not_finite_are_null() -> None:
    expected = messages.Forecast(
        cells=1, ended=0, to_run=1, worker_seconds=float("nan"), disk_bytes=None, disk_bytes_at_most=None
    )
    assert json.loads(expected.model_dump_json())["worker_seconds"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 1, "type": "error", "messages": "one"},
        {"version": 2, "type": "error", "messages": ["one"]},
        {"version": 1, "type": "errors", "messages": ["one"]},
        {"version": 1, "type": "error"},
    ],
)
def test_a_wrong_message_is_noticed(wrong: dict[str, object]) -> None:
    read_lines(json.dumps({"version": 1, "type": "error", "messages": ["one"]}))
    with pytest.raises(jsonschema.ValidationError):
        read_lines(json.dumps(wrong))
