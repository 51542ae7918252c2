"""The record of a search, which grows while it runs: suggested configs, their cells, the best ones, what they cost."""

import json
import time
from collections.abc import Sequence
from typing import Any

from raysearch.engine.drivers.suggestions import SuggestedConfig, Suggestions
from raysearch.engine.options import Run
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.engine.trials.schedulers import count_trained
from raysearch.runs import CellRecord, LearnedRecord, VariantRecord
from raysearch.studies.design import Cell, SearchPlan, Variant

_WRITE_SHARE = 1 / 20  # largest share of the time for writing, however long the list has become


class SearchRecord(Listener):
    """Keeps `study.json` up to date, and knows how far the search is.

    Args:
        plan: the search's.
        run: whose record is completed.

    Attributes:
        groups: label -> suggestions, of the groups that have begun.
        judging: cells in which the best configs and the references meet; None before it is known.
    """

    def __init__(self, plan: SearchPlan, run: Run) -> None:
        self._plan = plan
        self._run = run
        self.groups: dict[str, Suggestions] = {}
        self.judging: list[Cell] | None = None
        self._written_at = 0.0
        self._write_seconds = 0.0

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Write the record, unless the last write was so recent that writes would take much of the time."""
        if time.monotonic() - self._written_at > self._write_seconds / _WRITE_SHARE:
            self.write()

    def note_learned(self, learned: LearnedRecord) -> None:
        """Record what a group has learned, in place of what an earlier call recorded of it."""
        others = [entry for entry in self._run.record.learned if entry.group != learned.group]
        self._run.record.learned = [*others, learned] if learned.configs or learned.left_out else others

    def total(self) -> int:
        """Return the number of cells that there will be, if nothing more is stopped and no suggestion is repeated."""
        plan = self._plan
        searched = sum(
            self.groups[group.label].count_cells() if group.label in self.groups else plan.trials * len(plan.seeds)
            for group in plan.groups
        )
        judging = count_judging(plan) if self.judging is None else len({cell.hash for cell in self.judging})
        return searched + judging

    def done(self) -> int:
        """Return the number of cells that have ended."""
        return sum(len(config.records) for suggestions in self.groups.values() for config in suggestions.configs)

    def write(self) -> None:
        """Write `study.json`."""
        started = time.monotonic()
        for name, value in self._describe().items():
            setattr(self._run.record, name, value)
        self._run.write_record()
        self._written_at = time.monotonic()
        self._write_seconds = self._written_at - started

    def _describe(self) -> dict[str, Any]:
        variants: dict[str, Variant] = {}
        cells = []
        for label, suggestions in self.groups.items():
            for config in suggestions.configs:
                name = self._prefix(label) + config.variant.name
                variants[name] = config.variant
                cells += [_cell(cell, name, "search") for cell in config.cells]
        for cell in self.judging or ():
            variants.setdefault(cell.variant.name, cell.variant)
            cells.append(_cell(cell, cell.variant.name, "judge"))
        return {
            "variants": [_variant(name, variant) for name, variant in variants.items()],
            "cells": cells,
            "factors": sorted({path for variant in variants.values() for path in variant.settings}),
            "best": [self._best(label, suggestions) for label, suggestions in self.groups.items()],
            "epochs": self._epochs(),
            "duplicates": sum(suggestions.duplicates for suggestions in self.groups.values()),
            "optuna": {label: suggestions.optuna.name for label, suggestions in self.groups.items()},
        }

    def _prefix(self, label: str) -> str:
        """Return what distinguishes the configs of a group from those of others."""
        return f"{label} " if len(self._plan.groups) > 1 else ""

    def _best(self, label: str, suggestions: Suggestions) -> dict[str, Any]:
        plan = self._plan
        metrics = plan.search.metrics
        group = next(group for group in plan.groups if group.label == label)
        prefix = self._prefix(label)
        best = best_config(suggestions.configs, plan)
        fields: dict[str, Any] = {
            "group": label or None,
            "reference": plan.reference(group).name,
            "judged": plan.best(group, {}).name,
        }
        if suggestions.timed_on is not None:
            fields["timed_on"] = suggestions.timed_on
        if best is None:
            nothing = dict.fromkeys(("variant", "settings", "config", "value"))
            # Optuna's front may hold stopped configs, so it counts only for several metrics, where nothing is stopped.
            front = suggestions.optuna.front() if len(metrics) > 1 else []
            return {**fields, **nothing, "front": [prefix + name for name in front]}
        front = suggestions.optuna.front() if len(metrics) > 1 else [best.variant.name]
        return {
            **fields,
            "variant": prefix + best.variant.name,
            "settings": dict(best.variant.declared),
            "config": best.variant.config.model_dump(mode="json"),
            "value": {metric: best.value(metric) for metric in metrics},
            "front": [prefix + name for name in front],
        }

    def _epochs(self) -> dict[str, int]:
        """Return what early stopping saved: epochs after the warm-up that were run, and those of the whole configs."""
        run = 0
        full = 0
        for suggestions in self.groups.values():
            for suggested in suggestions.configs:
                config = suggested.variant.config
                for record in suggested.records.values():
                    if record["status"] in ("finished", "stopped"):
                        run += count_trained(json.loads(record["history"])) * config.epochs // config.steps
                        full += config.epochs
        return {"run": run, "full": full}


def count_cells(plan: SearchPlan) -> int:
    """Return the number of cells of a search, if nothing is stopped and no suggestion is repeated."""
    return plan.most_cells


def count_judging(plan: SearchPlan) -> int:
    """Return the number of cells in which the best configs and the references meet."""
    return 0 if plan.search.trains_population else 2 * plan.search.judge_seeds * len(plan.groups)


def best_config(configs: Sequence[SuggestedConfig], plan: SearchPlan) -> SuggestedConfig | None:
    """Return the finished config with the best first metric; of equals the earliest."""
    metric = plan.search.metrics[0]
    sign = 1 if plan.search.modes[0] == "max" else -1
    scored = [(config.value(metric), config) for config in configs]
    finished = [(sign * value, config) for value, config in scored if value is not None]
    return max(finished, key=lambda pair: pair[0])[1] if finished else None


def _variant(name: str, variant: Variant) -> VariantRecord:
    return VariantRecord(
        name=name,
        settings=dict(variant.settings),
        declared=dict(variant.declared),
        config=variant.config.model_dump(mode="json"),
    )


def _cell(cell: Cell, variant: str, stage: str) -> CellRecord:
    return CellRecord(cell=cell.hash, variant=variant, seed=cell.seed, stage=stage)
