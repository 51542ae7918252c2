"""The configs that a search tried, with their results; times are compared on one kind of device."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.html import formats
from dashboards.run_data import history, mean
from raysearch.runs import StudyRecord, VariantRecord
from raysearch.studies.analysis import devices

STATUS_ORDER = ("finished", "stopped", "unfinished", "failed")


@dataclass(frozen=True)
class TriedConfig:
    """One suggestion of the sampler, with its results."""

    name: str
    number: int  # of the trial, in the order of the suggestions
    group: str  # "hash.bits=24"; empty if the search has no groups
    settings: Mapping[str, Any]  # levels of the searched paths that it has, as the study file declares them
    status: str  # "finished", "stopped" early, "failed", or "unfinished" while seeds are missing
    values: Mapping[str, float | None]  # metric -> mean over its seeds; for a stopped config, its last value
    rows: list[dict[str, Any]]  # its ended cells

    @property
    def seconds(self) -> float | None:
        """Mean duration of its cells."""
        return mean(row.get("seconds") for row in self.rows)

    @property
    def epochs(self) -> int:
        """Epochs that all of its cells ran."""
        return sum(row.get("epochs") or 0 for row in self.rows)

    @property
    def histories(self) -> list[list[dict[str, Any]]]:
        """One history (one dict per iteration) per cell, decoded anew at each call."""
        return [history(row.get("history")) for row in self.rows]


def group_label(study: StudyRecord, level: Any) -> str:
    """Return a group's name; empty if the search has no groups.

    Args:
        study: the content of `study.json`.
        level: the level of the group's path, or the name itself.

    >>> group_label(StudyRecord(study="s", group="hash.bits", variants=[], cells=[]), 24)
    'hash.bits=24'
    """
    if level is None or (isinstance(level, str) and "=" in level):
        return level or ""
    return f"{study.group}={formats.level(level)}" if study.group else ""


def read_config(
    study: StudyRecord,
    variant: VariantRecord,
    index: int,
    rows: list[dict[str, Any]],
    planned: int,
    metrics: list[str],
    timed_on: Mapping[str, str | None],
) -> TriedConfig:
    """Return a config with its results.

    Args:
        study: the record of the search.
        variant: the config.
        index: its number, if its name has none.
        rows: its ended cells.
        planned: the number of its cells.
        metrics: that the search chooses by.
        timed_on: group -> device on which times are compared.
    """
    levels = _levels(study, variant, rows)
    group = _group_of(study, levels)
    device = timed_on.get(group)
    number = re.match(r"(\d+):", variant.name)
    searched = study.space or levels
    status = _status(rows, planned)
    return TriedConfig(
        name=variant.name,
        number=int(number[1]) if number else index,
        group=group,
        settings={path: level for path, level in levels.items() if path in searched and path != study.group},
        status=status,
        values={metric: _mean_value(rows, metric, device) if status != "failed" else None for metric in metrics},
        rows=rows,
    )


def _status(rows: list[dict[str, Any]], planned: int) -> str:
    statuses = {row["status"] for row in rows}
    if "failed" in statuses:
        return "failed"
    if "stopped" in statuses:
        return "stopped"
    return "finished" if len(rows) >= planned else "unfinished"


def _levels(study: StudyRecord, variant: VariantRecord, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return a config's levels. If study.json does not list them they are in the columns, as far as it has them."""
    if variant.levels:
        return variant.levels
    columns = [*study.space, *([study.group] if study.group else [])]
    return {path: rows[0][path] for path in columns if rows[0].get(path) is not None}


def _group_of(study: StudyRecord, levels: Mapping[str, Any]) -> str:
    return group_label(study, levels.get(study.group)) if study.group else ""


def timing_devices(
    study: StudyRecord, plans: Mapping[str, VariantRecord], rows_by_name: Mapping[str, list[dict[str, Any]]]
) -> dict[str, str | None]:
    """Return group -> the device on which times are compared: as the search noted it, or the one with most cells."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, cells in rows_by_name.items():
        rows.setdefault(_group_of(study, _levels(study, plans[name], cells)), []).extend(cells)
    noted = {group_label(study, entry.group): entry.timed_on for entry in study.best}
    return {group: noted.get(group) or devices.main_device(cells) for group, cells in rows.items()}


def _mean_value(rows: list[dict[str, Any]], metric: str, timed_on: str | None) -> float | None:
    """Average a metric over seeds; None if any seed has no number, since the others may be the easier seeds.

    A time has no value if another device measured it.
    """
    if devices.is_time(metric) and any(devices.device_of(row) != timed_on for row in rows):
        return None
    values = [row.get(metric) for row in rows]
    return mean(values) if all(isinstance(v, int | float) and math.isfinite(v) for v in values) else None
