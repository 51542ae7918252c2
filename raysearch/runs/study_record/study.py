"""The whole record of a study."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field

from raysearch.core import UserError, nearest, sanitize
from raysearch.runs.study_record.costs import CostRecord, FeedRecord, PretrainingsRecord
from raysearch.runs.study_record.fields import (
    Counts,
    Mode,
    Names,
    Numbers,
    SeedCounts,
    Settings,
    null_as_empty,
    null_as_empty_list,
)
from raysearch.runs.study_record.planned import CellRecord, VariantRecord
from raysearch.runs.study_record.search_parts import BestRecord, EpochsRecord, ExplanationRecord, LearnedRecord
from raysearch.runs.study_record.surroundings import SplitRecord, Surroundings


class StudyRecord(Surroundings):
    """The content of `study.json`."""

    kind: Literal["ablation", "search", "explanation"] | None = None
    study: str
    question: str | None = None
    profile: str | None = None
    task: str | None = None
    device: str | None = None  # kind that computes the cells: "cpu" or "cuda"
    precision: str | None = None  # that `train.precision: auto` means there
    code: Annotated[dict[str, str], BeforeValidator(null_as_empty)] = {}  # file of a user's task -> digest
    seeds: Numbers = []
    looks: SeedCounts = []  # numbers of seeds at which an adaptive study is judged, declared before its first cell
    margin: Annotated[float, Field(gt=0)] | None = None  # of an adaptive study: smaller differences do not matter
    looked: SeedCounts = []  # of a study with fixed seeds: those of earlier plans whose results existed when it grew
    imported: bool = False  # whether other tools made the results
    design: str | None = None  # of an ablation
    metrics: Names = []  # that a search chooses by
    modes: Annotated[list[Mode], BeforeValidator(null_as_empty_list)] = []
    factors: Names = []
    within: Names = []  # factors whose levels each have a reference
    reference: str | None = None
    references: Annotated[dict[str, str], BeforeValidator(null_as_empty)] = {}  # variant -> its reference
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
    judge_seeds: Numbers = []
    published: str | None = None
    comparisons: Annotated[int, Field(ge=0)] | None = None  # of the whole study, which may have more variants than ran
    variants: list[VariantRecord]
    cells: list[CellRecord]
    starts: Annotated[list[CellRecord], BeforeValidator(null_as_empty_list)] = []  # pre-trainings
    best: Annotated[list[BestRecord], BeforeValidator(null_as_empty_list)] = []
    learned: Annotated[list[LearnedRecord], BeforeValidator(null_as_empty_list)] = []
    epochs: Annotated[EpochsRecord, BeforeValidator(null_as_empty)] = Field(default_factory=EpochsRecord)
    duplicates: int | None = None  # suggestions that repeated an earlier config
    explanation: ExplanationRecord | None = None  # of a search
    optuna: Settings = {}  # group -> name of the Optuna study
    started: str | None = None
    adopted: int | None = None  # cells that other runs had finished
    adopted_from: Counts = {}  # run directory -> cells
    feed: Annotated[list[FeedRecord], BeforeValidator(null_as_empty_list)] = []
    warnings: Names = []
    hardware: Settings = {}
    splits: Annotated[dict[str, SplitRecord], BeforeValidator(null_as_empty)] = {}
    pre_trainings: Annotated[PretrainingsRecord, BeforeValidator(null_as_empty)] = Field(
        default_factory=PretrainingsRecord
    )
    cost: Annotated[CostRecord, BeforeValidator(null_as_empty)] = Field(default_factory=CostRecord)
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
