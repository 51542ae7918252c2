"""The JSON schema of all messages, exported from their models; `schema.json` beside this file is the shipped copy.

`python -m raysearch.messages.schema > raysearch/messages/schema.json` writes it again.
"""

import json
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from raysearch.messages.check import CheckMessage
from raysearch.messages.message import VERSION, ErrorMessage
from raysearch.messages.plan import PlanMessage
from raysearch.messages.progress import CellMessage, ProgressMessage
from raysearch.messages.result import ComparisonMessage, ResultMessage

AnyMessage = Annotated[
    PlanMessage | ProgressMessage | CellMessage | ResultMessage | ComparisonMessage | CheckMessage | ErrorMessage,
    Field(discriminator="type"),
]


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of any one line that a command prints by `--json`."""
    schema = TypeAdapter(AnyMessage).json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Messages of raysearch, version {VERSION}",
    }
    return head | schema


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1))
