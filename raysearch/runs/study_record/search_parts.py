"""What a search has found and learned, and what an explanation of it explains."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from raysearch.runs.study_record.fields import Counts, Names, Numbers, Record, Settings, null_as_empty_list


class BestRecord(Record):
    """The best config of a search's group, and the Pareto front of the group."""

    group: Any = None  # the group's level, or "path=level"
    variant: str | None = None
    front: Names = []
    timed_on: str | None = None  # the device on which times are compared, of a search that chooses by one


class LearnedRecord(Record):
    """What a group of a search learned from other runs before its first trial."""

    group: str | None = None  # its label
    configs: int = 0
    first: int = 0  # of them, that were suggested first
    runs: Counts = {}  # run directory -> cells
    left_out: Counts = {}  # reason -> cells


class EpochsRecord(Record):
    """Epochs that a search ran, and those that it would have run without early stopping."""

    run: float | None = None
    full: float | None = None


class ChangeRecord(Record):
    """A change from the reference of a search to its best config, in one setting or in several that travel together."""

    name: str
    before: Settings = {}  # dotted path -> value in the reference
    after: Settings = {}  # dotted path -> value in the best config


class ExplainedGroupRecord(Record):
    """The changes of a group of a search, and the order in which the path takes them; empty while it is not chosen."""

    label: str = ""
    changes: Annotated[list[ChangeRecord], BeforeValidator(null_as_empty_list)] = []
    path: Names = []


class ExplanationRecord(Record):
    """What an explanation explains."""

    search: str | None = None  # path or URI of the search's run
    choosing_seeds: Numbers = []
    whole_seeds: Numbers = []  # of the whole difference, with looks
    groups: Annotated[list[ExplainedGroupRecord], BeforeValidator(null_as_empty_list)] = []
