"""The outcome of `raysearch cluster check`."""

from typing import Literal

from pydantic import Field

from raysearch.messages.message import Message, Record


class CheckedSubject(Record):
    """One check."""

    subject: str = Field(description="What was checked, in one word, such as file, quotas or cost.")
    status: Literal["PASS", "WARN", "FAIL"] = Field(description="A WARN needs a judgment; a FAIL must be mended.")
    message: str = Field(description="What was found, and what to do.")


class CheckMessage(Message):
    """The outcome of the checks of a cluster file. A failed check also gives exit code 2."""

    type: Literal["check"] = "check"
    file: str
    passed: bool = Field(description="Whether no check failed.")
    checks: list[CheckedSubject]
    next: str | None = Field(description="The command that starts the cluster; null if a check failed.")
