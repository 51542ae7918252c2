"""How images reached the workers, and what the run has cost."""

from typing import Annotated

from pydantic import BeforeValidator

from raysearch.runs.study_record.fields import Record, null_as_empty


class FeedRecord(Record):
    """How the images of one size reached the workers."""

    text: str


class PretrainingsRecord(Record):
    """Pre-trainings that cells start from."""

    cells: int = 0
    seconds: float = 0.0


class CostRecord(Record):
    """The price of the machines; empty if no machine has a price."""

    dollars: float | None = None
    node_hours: Annotated[dict[str, float], BeforeValidator(null_as_empty)] = {}
