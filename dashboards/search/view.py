"""A search as its report shows it: every config that was tried, the best of each group, and their final evaluation.

Values that an older or interrupted search does not record are missing; they cause no error.
"""

import functools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dashboards.html import formats
from dashboards.run_data import loads, mapping, rows_of
from dashboards.search.final_evaluation import FinalEvaluation, final_evaluations
from dashboards.search.tried_configs import STATUS_ORDER, TriedConfig, group_label, read_config, timing_devices
from raysearch.runs import StudyRecord, VariantRecord
from raysearch.studies.analysis import devices


@dataclass(frozen=True)
class SearchView:
    """The data behind the page, the tables and the terminal output of a search."""

    study: StudyRecord
    rows: list[dict[str, Any]]  # one per ended cell
    configs: tuple[TriedConfig, ...]  # in the order of the suggestions
    evaluations: tuple[FinalEvaluation, ...]  # one per group that has any judging cell
    timed_on: Mapping[str, str | None] = field(default_factory=dict)  # group -> device on which times are compared

    @property
    def metrics(self) -> list[str]:
        """The metrics that the search chooses by."""
        return _metrics(self.study)

    @property
    def modes(self) -> dict[str, str]:
        """Metric -> "max" or "min"."""
        return dict(zip(self.metrics, self.study.modes or ["max"] * len(self.metrics), strict=False))

    @property
    def paths(self) -> list[str]:
        """The searched config paths."""
        return list(self.study.space or dict.fromkeys(path for config in self.configs for path in config.settings))

    @functools.cached_property
    def groups(self) -> list[str]:
        """Names of the groups; one empty name if the search has no groups."""
        return list(dict.fromkeys(config.group for config in self.configs)) or [""]

    @functools.cached_property
    def ids(self) -> dict[str, str]:
        """Metric -> its id."""
        ids: dict[str, str] = {}
        for text in dict.fromkeys(row.get("metric_ids") for row in self.rows):
            ids |= {key: str(value) for key, value in mapping(loads(text)).items()}
        return ids

    def in_group(self, group: str) -> list[TriedConfig]:
        """Return the configs of a group, in the order of the suggestions."""
        return [config for config in self.configs if config.group == group]

    def is_better(self, config: TriedConfig, other: TriedConfig, metric: str) -> bool:
        """Return whether a config's value is strictly better than another's. Both must have a value."""
        value = config.values[metric]
        other_value = other.values[metric]
        assert value is not None
        assert other_value is not None
        return value > other_value if self.modes[metric] == "max" else value < other_value

    def ranked(self, group: str) -> list[TriedConfig]:
        """Return a group's configs, best first: finished ones, then stopped, unfinished and failed ones."""
        metric = self.metrics[0]
        sign = -1 if self.modes[metric] == "max" else 1

        def _rank(config: TriedConfig) -> tuple[int, float, int]:
            value = config.values[metric]
            return STATUS_ORDER.index(config.status), math.inf if value is None else sign * value, config.number

        return sorted(self.in_group(group), key=_rank)

    def best(self, group: str) -> TriedConfig | None:
        """Return the chosen config of a group, or the one that would be chosen if the search ended now."""
        chosen = [entry.variant for entry in self.study.best if group_label(self.study, entry.group) == group]
        candidates = self._candidates(group)
        default = candidates[0] if candidates else None
        return next((config for config in self.in_group(group) if config.name in chosen), default)

    def chosen_names(self) -> set[str]:
        """Return the names of the best configs of all groups."""
        return {config.name for group in self.groups if (config := self.best(group))}

    @functools.cached_property
    def devices_notes(self) -> list[str]:
        """A line per kind of comparison whose cells ran on different kinds of devices."""
        times = [metric for metric in self.metrics if devices.is_time(metric)]
        notes = []
        for group in self.groups:
            rows = [row for config in self.in_group(group) for row in config.rows if row["status"] == "finished"]
            counts = devices.device_counts(rows)
            if len(counts) > 1 or any(map(devices.is_on_several, rows)):
                place = f" of {group}" if group else ""
                listed = ", ".join(f"{number:,} on {device}" for device, number in counts.items())
                notes.append(f"cells of configs{place} ran on different kinds of devices: {listed}")
                if times:
                    notes[-1] += f"; {formats.listed(times)} is compared on {self.timed_on.get(group)} alone"
        return notes + [evaluation.devices_note for evaluation in self.evaluations if evaluation.devices_note]

    @functools.cached_property
    def fronts(self) -> dict[str, list[TriedConfig]]:
        """Group -> its Pareto front: the finished configs that no other dominates, ordered by the first metric."""
        return {group: self._front(group) for group in self.groups}

    def count(self, status: str) -> int:
        """Return the number of configs with a status."""
        return sum(config.status == status for config in self.configs)

    def _candidates(self, group: str) -> list[TriedConfig]:
        """Return the finished configs with a value in every metric, best first."""
        finished = [config for config in self.ranked(group) if config.status == "finished"]
        return [config for config in finished if all(config.values[metric] is not None for metric in self.metrics)]

    def _front(self, group: str) -> list[TriedConfig]:
        candidates = self._candidates(group)
        finished = [row for config in self.in_group(group) for row in config.rows if row["status"] == "finished"]
        is_mixed = len(devices.device_counts(finished)) > 1 and any(map(devices.is_time, self.metrics))
        for entry in self.study.best:
            # A record without a device compared the times of all devices.
            is_valid = entry.timed_on is not None or not is_mixed
            if group_label(self.study, entry.group) == group and entry.front and is_valid:
                return [config for config in candidates if config.name in set(entry.front)]
        front: list[TriedConfig] = []
        for config in candidates:
            if not any(self._dominates(other, config) for other in front):
                front = [other for other in front if not self._dominates(config, other)] + [config]
        return front

    def _dominates(self, config: TriedConfig, other: TriedConfig) -> bool:
        """Return whether a config is better in some metric and worse in none."""
        worse = any(self.is_better(other, config, metric) for metric in self.metrics)
        return not worse and any(self.is_better(config, other, metric) for metric in self.metrics)


def search_view(study: StudyRecord, table: pa.Table) -> SearchView:
    """Build the view of a search.

    Args:
        study: the content of `study.json`.
        table: the results, one row per cell.

    Raises:
        UserError: judging cells cannot be compared; see `statistics.compare`.
    """
    study = study.escaped()
    rows = rows_of(table)
    metrics = _metrics(study)
    rows_by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row.get("stage") != "judge":
            rows_by_name.setdefault(row["variant"], []).append(row)
    planned = Counter(cell.variant for cell in study.cells if cell.stage != "judge")
    variants = {variant.name: variant for variant in study.variants}
    plans = {name: variants.get(name, VariantRecord(name=name)) for name in rows_by_name}
    timed_on = timing_devices(study, plans, rows_by_name) if any(map(devices.is_time, metrics)) else {}
    configs = [
        read_config(study, plans[name], index, cells, planned[name], metrics, timed_on)
        for index, (name, cells) in enumerate(rows_by_name.items())
    ]
    groups = list(dict.fromkeys(config.group for config in configs)) or [""]
    evaluations = final_evaluations(study, [row for row in rows if row.get("stage") == "judge"], groups)
    ordered = tuple(sorted(configs, key=lambda config: config.number))
    return SearchView(study, rows, ordered, evaluations, timed_on)


def _metrics(study: StudyRecord) -> list[str]:
    return list(study.metrics or ["map_validation"])
