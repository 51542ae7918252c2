"""`study.json` as one typed model, used to write it and to read it.

Every key but `study`, `variants` and `cells` may be missing, because older and interrupted runs hold less. Unknown keys
are kept. The file is checked once, when it is read, so readers need not doubt a type. A file from elsewhere may hold a
value of another type, a number that fits no float, or braces a thousand deep: each gives a one-line error.
"""

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from raysearch.core import UserError, nearest, sanitize
from raysearch.storage import names_a_server, without_credentials

_MAX_DEPTH = 32  # levels; a config has four
_MAX_INTEGER = 2**63  # no seed, size or count is larger, and no float holds such an integer exactly

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half a pair, or one of a whole pair, which stays as it is

Mode = Literal["max", "min"]


def _null_as_empty(value: Any) -> Any:
    return {} if value is None else value


def _null_as_empty_list(value: Any) -> Any:
    return [] if value is None else value


def _check_task(config: dict[str, Any]) -> dict[str, Any]:
    """Raise a ValueError unless the task of a nested config is a name. A user's task may have settings of any name."""
    if not isinstance(config.get("task"), str | None):
        raise ValueError("the task of a config should be a name")
    return config


def _check_rising(numbers: list[int]) -> list[int]:
    """Raise a ValueError unless numbers of seeds are positive and rise."""
    if any(later <= earlier for earlier, later in itertools.pairwise([0, *numbers])):
        raise ValueError("numbers of seeds should be positive, each larger than the one before")
    return numbers


Settings = Annotated[dict[str, Any], BeforeValidator(_null_as_empty)]
NestedConfig = Annotated[dict[str, Any], BeforeValidator(_null_as_empty), AfterValidator(_check_task)]
Names = Annotated[list[str], BeforeValidator(_null_as_empty_list)]
SeedCounts = Annotated[list[int], BeforeValidator(_null_as_empty_list), AfterValidator(_check_rising)]


def config_section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of a recorded config; empty if it has none, or has a setting of that name."""
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, validate_assignment=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys that were read or set, as plain data."""
        return self.model_dump(exclude_unset=True)


class LevelsRecord(_Record):
    """Levels of the factors, by path.

    Attributes:
        settings: as the cells ran.
        declared: as the study file declares them, with sizes in pixels of a 224 px image.
    """

    settings: Settings = {}
    declared: Settings = {}

    @property
    def levels(self) -> dict[str, Any]:
        """The declared level of each factor, or the level as run if none is declared."""
        return {**self.settings, **self.declared}


class VariantRecord(LevelsRecord):
    """A variant, in a study on several data sets on one of them. `also` has other levels that give the same config."""

    name: str
    config: NestedConfig = {}
    data_set: str | None = None  # name of its data set, in a study on several
    also: Annotated[list[LevelsRecord], BeforeValidator(_null_as_empty_list)] = []


class CellRecord(_Record):
    """A planned cell. A search has two stages: "search" and "judge"; an explanation has "choose" and "judge"."""

    cell: str  # its hash
    variant: str
    seed: int
    stage: str | None = None


class DataRecord(_Record):
    """The data set."""

    name: str | None = None
    layout: str | None = None
    path: str | None = None
    content_hash: str | None = None
    images: int | None = None
    classes: int | None = None
    counts: Annotated[dict[str, int], BeforeValidator(_null_as_empty)] = {}  # split -> images
    account: str | None = None  # what the ingest read and left out, in one line

    def recorded_path(self) -> str:
        """Return the path or URI of the shards.

        Raises:
            UserError: the run does not record it, or records a URI that chooses a server; see
                `storage.names_a_server`.
        """
        if self.path is None:
            raise UserError("the run does not record where its data set is; name the directory with --data")
        if names_a_server(self.path):
            raise UserError(
                f"the run's data set is at '{without_credentials(self.path)}'; a server that a record names is not "
                "contacted: give the URI with --data if you trust it"
            )
        return self.path


class BestRecord(_Record):
    """The best config of a search's group, and the Pareto front of the group."""

    group: Any = None  # the group's level, or "path=level"
    variant: str | None = None
    front: Names = []
    timed_on: str | None = None  # the device on which times are compared, of a search that chooses by one


class LearnedRecord(_Record):
    """What a group of a search learned from other runs before its first trial."""

    group: str | None = None  # its label
    configs: int = 0
    first: int = 0  # of them, that were suggested first
    runs: Annotated[dict[str, int], BeforeValidator(_null_as_empty)] = {}  # run directory -> cells
    left_out: Annotated[dict[str, int], BeforeValidator(_null_as_empty)] = {}  # reason -> cells


class FeedRecord(_Record):
    """How the images of one size reached the workers."""

    text: str


class EpochsRecord(_Record):
    """Epochs that a search ran, and those that it would have run without early stopping."""

    run: float | None = None
    full: float | None = None


class PretrainingsRecord(_Record):
    """Pre-trainings that cells start from."""

    cells: int = 0
    seconds: float = 0.0


class CostRecord(_Record):
    """The price of the machines; empty if no machine has a price."""

    dollars: float | None = None
    node_hours: Annotated[dict[str, float], BeforeValidator(_null_as_empty)] = {}


class SplitRecord(_Record):
    """Classes and images in each part of a class-disjoint split."""

    classes: dict[str, int]
    images: dict[str, int]


class ChangeRecord(_Record):
    """A change from the reference of a search to its best config, in one setting or in several that travel together."""

    name: str
    before: Settings = {}  # dotted path -> value in the reference
    after: Settings = {}  # dotted path -> value in the best config


class ExplainedGroupRecord(_Record):
    """The changes of a group of a search, and the order in which the path takes them; empty while it is not chosen."""

    label: str = ""
    changes: Annotated[list[ChangeRecord], BeforeValidator(_null_as_empty_list)] = []
    path: Names = []


class ExplanationRecord(_Record):
    """What an explanation explains."""

    search: str | None = None  # path or URI of the search's run
    choosing_seeds: Annotated[list[int], BeforeValidator(_null_as_empty_list)] = []
    groups: Annotated[list[ExplainedGroupRecord], BeforeValidator(_null_as_empty_list)] = []


class DataSetRecord(_Record):
    """One of several data sets of a study. `error` is the reason why its images could not be opened."""

    data: Annotated[DataRecord, BeforeValidator(_null_as_empty)] = Field(default_factory=DataRecord)
    chance: float | None = None
    warnings: Names = []
    splits: Annotated[dict[str, SplitRecord], BeforeValidator(_null_as_empty)] = {}
    error: str | None = None


class Surroundings(_Record):
    """Data, settings and code of a run, whatever kind of study it is."""

    profile_reason: str | None = None
    chance: float | None = None  # the metric of a random guess
    settings: Settings = {}  # overrides from the command line
    command: str | None = None  # that continues the run
    data: Annotated[DataRecord, BeforeValidator(_null_as_empty)] = Field(default_factory=DataRecord)
    data_sets: Annotated[dict[str, DataSetRecord], BeforeValidator(_null_as_empty)] = {}  # of a study on several
    code_version: int | None = None
    versions: Settings = {}  # package -> version


class StudyRecord(Surroundings):
    """The content of `study.json`."""

    kind: Literal["ablation", "search", "explanation"] | None = None
    study: str
    question: str | None = None
    profile: str | None = None
    task: str | None = None
    device: str | None = None  # kind that computes the cells: "cpu" or "cuda"
    precision: str | None = None  # that `train.precision: auto` means there
    code: Annotated[dict[str, str], BeforeValidator(_null_as_empty)] = {}  # file of a user's task -> digest
    seeds: Annotated[list[int], BeforeValidator(_null_as_empty_list)] = []
    looks: SeedCounts = []  # numbers of seeds at which an adaptive study is judged, declared before its first cell
    margin: Annotated[float, Field(gt=0)] | None = None  # of an adaptive study: smaller differences do not matter
    looked: SeedCounts = []  # of a study with fixed seeds: those of earlier plans whose results existed when it grew
    imported: bool = False  # whether other tools made the results
    design: str | None = None  # of an ablation
    metrics: Names = []  # that a search chooses by
    modes: Annotated[list[Mode], BeforeValidator(_null_as_empty_list)] = []
    factors: Names = []
    within: Names = []  # factors whose levels each have a reference
    reference: str | None = None
    references: Annotated[dict[str, str], BeforeValidator(_null_as_empty)] = {}  # variant -> its reference
    metric: str | None = None  # that variants are compared by
    mode: Mode | None = None
    metric_id: str | None = None
    judge_metric: str | None = None
    judge_mode: Mode | None = None
    budget: int | None = None  # configs of a search, per group
    sampler: str | None = None
    sampler_options: Settings = {}
    scheduler: str | None = None
    scheduler_options: Settings = {}
    space: Settings = {}  # path -> distribution in words
    space_digest: str | None = None  # of a space that is a function
    group: str | None = None
    judge_seeds: Annotated[list[int], BeforeValidator(_null_as_empty_list)] = []
    published: str | None = None
    comparisons: Annotated[int, Field(ge=0)] | None = None  # of the whole study, which may have more variants than ran
    variants: list[VariantRecord]
    cells: list[CellRecord]
    starts: Annotated[list[CellRecord], BeforeValidator(_null_as_empty_list)] = []  # pre-trainings
    best: Annotated[list[BestRecord], BeforeValidator(_null_as_empty_list)] = []
    learned: Annotated[list[LearnedRecord], BeforeValidator(_null_as_empty_list)] = []
    epochs: Annotated[EpochsRecord, BeforeValidator(_null_as_empty)] = Field(default_factory=EpochsRecord)
    duplicates: int | None = None  # suggestions that repeated an earlier config
    explanation: ExplanationRecord | None = None  # of a search
    optuna: Settings = {}  # group -> name of the Optuna study
    started: str | None = None
    adopted: int | None = None  # cells that other runs had finished
    adopted_from: Annotated[dict[str, int], BeforeValidator(_null_as_empty)] = {}  # run directory -> cells
    feed: Annotated[list[FeedRecord], BeforeValidator(_null_as_empty_list)] = []
    warnings: Names = []
    hardware: Settings = {}
    splits: Annotated[dict[str, SplitRecord], BeforeValidator(_null_as_empty)] = {}
    pre_trainings: Annotated[PretrainingsRecord, BeforeValidator(_null_as_empty)] = Field(
        default_factory=PretrainingsRecord
    )
    cost: Annotated[CostRecord, BeforeValidator(_null_as_empty)] = Field(default_factory=CostRecord)
    ended: str | None = None
    wall_seconds: float | None = None

    def chosen_variants(self) -> list[str]:
        """Return the reference and the best configs of a search; nothing for an ablation, which chooses none."""
        if self.kind != "search":
            return []
        return [str(self.reference), *(best.variant for best in self.best if best.variant)]

    def names_on(self, data_set: str) -> dict[str, str]:
        """Return name of a variant on one of several data sets -> its name in a study on that set alone."""
        return {
            variant.name: variant.name.removeprefix(f"{data_set}, ")
            for variant in self.variants
            if variant.data_set == data_set
        }

    def on_data_set(self, name: str) -> Self:
        """Return the record of the study on one of its several data sets; `comparisons` stay those of all.

        Args:
            name: of the data set.

        Raises:
            UserError: no such data set.
        """
        if name not in self.data_sets:
            raise UserError(f"the run has no data set '{name}'{nearest(name, self.data_sets)}")
        names = self.names_on(name)
        of_set = self.data_sets[name]
        references = {names[key]: names[other] for key, other in self.references.items() if {key, other} <= {*names}}
        return self.model_copy(
            update={
                "question": f"{name}: {self.question or self.study}",
                "data": of_set.data,
                "data_sets": {},
                "chance": of_set.chance,
                "warnings": of_set.warnings,
                "splits": of_set.splits,
                "variants": [
                    variant.model_copy(update={"name": names[variant.name], "data_set": None})
                    for variant in self.variants
                    if variant.name in names
                ],
                "cells": [
                    cell.model_copy(update={"variant": names[cell.variant]})
                    for cell in self.cells
                    if cell.variant in names
                ],
                "references": references,
                "reference": next(iter(references.values()), None),
            }
        )

    @property
    def left_out(self) -> frozenset[str]:
        """Return the variants on data sets that could not be opened."""
        closed = {name for name, of_set in self.data_sets.items() if of_set.error is not None}
        return frozenset(variant.name for variant in self.variants if variant.data_set in closed)

    def take_over(self, before: "StudyRecord", keys: Iterable[str]) -> None:
        """Set keys to their values in an earlier record, where it has them."""
        for key in keys:
            if key in before.model_fields_set:
                setattr(self, key, getattr(before, key))

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return a checked copy with other values of some keys."""
        return self.model_validate(self.to_dict() | dict(changes))

    def escaped(self) -> Self:
        """Return a copy in which control characters of all texts are written out; see `core.sanitize`."""
        return self.model_validate(sanitize.escape_nested(self.to_dict()))


def parse_record(text: str, where: str) -> StudyRecord:
    """Return the content of a `study.json`.

    Args:
        text: the file's text.
        where: the file, for the error message.

    Raises:
        UserError: the text is not JSON, or a value has a type that its key does not allow.

    >>> parse_record('{"study": "s", "variants": [], "cells": []}', "study.json").study
    's'
    >>> parse_record('{"study": "s", "variants": [], "cells": "many"}', "study.json")
    Traceback (most recent call last):
    raysearch.core.errors.UserError: 'study.json' is damaged: cells: input should be a valid list
    """
    try:
        data = json.loads(text, parse_constant=lambda name: None)  # NaN and Infinity are not results
        _check_numbers(data)
        if _SURROGATE.search(text):
            data = _replace_surrogates(data)
        return StudyRecord.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part)[:80] for part in first["loc"])
        raise UserError(f"'{where}' is damaged: {path}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None
    except RecursionError:
        raise UserError(f"'{where}' is damaged: it is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"'{where}' is damaged: {error}") from None


def _replace_surrogates(value: Any) -> Any:
    """Return nested data whose texts hold question marks for halves of surrogate pairs, which no file takes."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(entry) for key, entry in value.items()}
    return [_replace_surrogates(entry) for entry in value] if isinstance(value, list) else value


def _check_numbers(data: Any) -> None:
    """Raise a ValueError for a number or a depth that no study has."""
    level = [data]
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError("it holds a number larger than any float")
            elif isinstance(value, int) and abs(value) >= _MAX_INTEGER:
                raise ValueError("it holds an integer of more than 64 bits")
        level = inner
        if not level:
            return
    raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
