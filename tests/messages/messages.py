"""What a command prints by `--json`, checked against the schema that the package ships."""

import json
from functools import cache
from importlib import resources
from typing import Any

import jsonschema


@cache
def shipped_schema() -> dict[str, Any]:
    """The schema as users of the package find it."""
    return json.loads((resources.files("raysearch.messages") / "schema.json").read_text())


def read_lines(output: str) -> list[dict[str, Any]]:
    """Return the messages of standard output. Each of its lines must be one, and follow the schema."""
    validator = jsonschema.Draft202012Validator(shipped_schema())
    lines = [json.loads(line) for line in output.splitlines()]
    for line in lines:
        validator.validate(line)
    return lines
