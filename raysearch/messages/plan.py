"""The plan of a study: its variants, its cells, and a forecast of what is left to run."""

from typing import Literal

from pydantic import Field

from raysearch.messages.message import JsonObject, Message, Metric, Record


class PlannedVariant(Record):
    """A variant of an ablation."""

    name: str
    settings: JsonObject = Field(description="Levels of the factors, as the cells run.")
    cells: int


class PlannedCell(Record):
    """A cell of an ablation."""

    cell: str = Field(description="Its hash.")
    variant: str
    seed: int
    status: Literal["finished", "failed", "stopped", "to run"]


class Forecast(Record):
    """What is left to run, and what it takes."""

    cells: int = Field(description="Planned cells; of a search, and with looks, the most that there can be.")
    expected_cells: int | None = Field(
        default=None,
        description="Of an explanation with looks: if a third of its changes earn the gain that the search measured.",
    )
    ended: int
    to_run: int
    worker_seconds: float | None = Field(description="By the mean of the cells that finished; null before one has.")
    disk_bytes: int | None = Field(description="Checkpoints at the end of the study; null if not known.")
    disk_bytes_at_most: int | None = Field(description="Checkpoints while it runs; null if not known.")


class PlanMessage(Message):
    """What a sweep will run. The first message of a sweep, and the outcome of `--dry-run`."""

    type: Literal["plan"] = "plan"
    kind: Literal["ablation", "search", "explanation"]
    study: str
    question: str
    task: str
    profile: str
    profile_reason: str
    run: str = Field(description="The run directory: a path or URI.")
    data: str | None = Field(description="Name of the data set.")
    metric: Metric
    reference: str | None
    seeds: list[int]
    factors: list[str]
    variants: list[PlannedVariant] = Field(description="Empty for a search, which chooses them while it runs.")
    cells: list[PlannedCell] = Field(description="Empty for a search.")
    forecast: Forecast
    next: str = Field(description="The command that runs the plan, or continues it.")
