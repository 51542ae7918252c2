"""The base of all messages, and the message of a command that ends with an error."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION = 1  # of the schema; raised when a field goes or changes its meaning, not when one is added

Interval = tuple[float, float] | None


class Record(BaseModel):
    """A part of a message. Numbers that are not finite are written as null."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null", json_schema_serialization_defaults_required=True)


class Message(Record):
    """One line of output. `type` names the kind of message."""

    version: Literal[1] = Field(1, description="Version of the schema.")


class Metric(Record):
    """A metric that variants are compared by."""

    name: str
    id: str = Field(description="The exact definition, such as map@all/expected-ties/test.")
    mode: Literal["max", "min"] = Field(description="Whether higher or lower values are better.")


class ErrorMessage(Message):
    """The command ended with exit code 2. Nothing else follows."""

    type: Literal["error"] = "error"
    messages: list[str] = Field(description="What is wrong and what to do, one line per mistake.")


JsonObject = dict[str, Any]
