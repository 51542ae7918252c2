"""The outcome of a run: the answer, a verdict per variant with what may be claimed, holes, and the next command."""

from typing import Literal

from pydantic import Field

from raysearch.messages.message import Interval, JsonObject, Message, Metric, Record
from raysearch.messages.progress import ProgressMessage

Verdict = Literal[
    "reference",
    "better",
    "worse",
    "within margin",  # the whole interval is inside the study's margin
    "better so far",  # before all planned cells have ended, which decides nothing
    "worse so far",
    "undecided",
    "no interval",
    "no result",
]
State = Literal["complete", "running", "incomplete"]


class VariantResult(Record):
    """A variant against its reference. Numbers are null if they could not be computed."""

    name: str
    label: str = Field(description="The name for people, with sizes as run and as declared.")
    settings: JsonObject = Field(description="Levels of the factors, or the settings of a search's config.")
    reference: str = Field(description="The variant that it is compared with.")
    verdict: Verdict
    claim: str = Field(description="The most that may be claimed, in one sentence.")
    mean: float | None
    interval: Interval = Field(description="95 % interval of the mean.")
    difference: float | None = Field(description="Mean paired difference from the reference.")
    difference_interval: Interval
    p: float | None
    p_holm: float | None = Field(description="p corrected by Holm over all planned comparisons.")
    look: int | None = Field(
        default=None, description="Of looks: the one that ended the comparison, or the last one so far, from 1."
    )
    seeds: int
    failed: int
    stopped: int
    missing: int = Field(description="Planned cells that have not ended.")
    refused: str | None = Field(description="Why there is no interval.")


class CellCounts(Record):
    """Cells by how they ended."""

    planned: int
    finished: int
    failed: int
    stopped: int
    missing: int


class Hole(Record):
    """A planned cell without a result."""

    cell: str
    variant: str
    seed: int
    status: Literal["failed", "stopped", "missing"]
    error: str | None


class Learned(Record):
    """What a group of a search learned from other runs before its first trial."""

    group: str | None
    configs: int
    first: int = Field(description="Of them, those that were suggested first.")
    runs: dict[str, int] = Field(description="Run directory -> cells.")
    left_out: dict[str, int] = Field(description="Reason -> cells of these runs that do not count.")


class NextStep(Record):
    """The command that brings the study further."""

    command: str
    reason: str


class ResultMessage(Message):
    """The outcome of a sweep, or of the report of a run that may still be running."""

    type: Literal["result"] = "result"
    kind: Literal["ablation", "search", "explanation"]
    study: str
    question: str
    run: str = Field(description="The run directory: a path or URI.")
    state: State = Field(description="`complete` if every planned cell has ended.")
    answer: str
    decided: bool = Field(description="Whether any difference from the reference may be claimed.")
    metric: Metric
    reference: str | None
    variants: list[VariantResult] = Field(
        description="Of a search, the best config of each group; of an explanation, the changes of its path."
    )
    cells: CellCounts
    holes: list[Hole]
    learned: list[Learned] = Field(description="Of a search: what it learned from other runs.")
    warnings: list[str]
    progress: list[ProgressMessage] = Field(description="Of the processes that run it now.")
    seconds: float | None = Field(description="Of all calls of the sweep, by the clock.")
    dollars: float | None
    files: dict[str, str] = Field(description="What was written: report, gallery, results, tables.")
    next: NextStep | None = Field(description="Null if nothing is left to do.")


class ComparisonMessage(Message):
    """The outcome of a report of several runs."""

    type: Literal["comparison"] = "comparison"
    runs: list[str]
    answer: str
    files: dict[str, str]
