"""A search as its report sees it: every config that was tried, the best of each group, and how the best were judged.

Whatever an older or an interrupted search does not hold is missing here and fails nothing.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dashboards.html import formats
from dashboards.run_data.result_rows import history, loads, mapping, mean, rows_of
from dashboards.search.final_evaluation import Judged, judge
from raysearch.runs.study_record import BestRecord, StudyRecord, VariantRecord

ORDER = ("finished", "stopped", "unfinished", "failed")


@dataclass(frozen=True)
class Config:
    """One suggestion of the sampler with what came of it."""

    name: str
    number: int  # of the trial, in the order of the suggestions
    group: str  # "hash.bits=24"; empty where the whole search is one
    settings: Mapping[str, Any]  # of the searched paths that it has, as the study file says them
    status: str  # "finished", "stopped" early, "failed", or "unfinished" while seeds are missing
    values: Mapping[str, float | None]  # metric -> mean over its seeds; of a stopped config its last
    rows: list[dict[str, Any]]  # its ended cells

    @property
    def seconds(self) -> float | None:
        return mean(row.get("seconds") for row in self.rows)

    @property
    def epochs(self) -> int:
        return sum(row.get("epochs") or 0 for row in self.rows)

    @property
    def histories(self) -> list[list[dict[str, Any]]]:
        """A history (a dict an iteration) per cell; taken apart anew at each call."""
        return [history(row.get("history")) for row in self.rows]


@dataclass(frozen=True)
class SearchView:
    """What the page, the tables and the terminal of a search are made from."""

    study: StudyRecord
    rows: list[dict[str, Any]]  # a row an ended cell
    configs: tuple[Config, ...]  # as they were suggested
    judged: tuple[Judged, ...]  # a group each, of those that were judged

    @property
    def metrics(self) -> list[str]:
        return list(self.study.get("metrics") or ["map_validation"])

    @property
    def modes(self) -> dict[str, str]:
        return dict(zip(self.metrics, self.study.get("modes") or ["max"] * len(self.metrics), strict=False))

    @property
    def paths(self) -> list[str]:
        """What is searched."""
        return list(self.study.get("space") or dict.fromkeys(path for one in self.configs for path in one.settings))

    @functools.cached_property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(one.group for one in self.configs)) or [""]

    @functools.cached_property
    def ids(self) -> dict[str, str]:
        """What a metric's values are: its id."""
        found: dict[str, str] = {}
        for text in dict.fromkeys(row.get("metric_ids") for row in self.rows):
            found |= {key: str(value) for key, value in mapping(loads(text)).items()}
        return found

    def of(self, group: str) -> list[Config]:
        return [one for one in self.configs if one.group == group]

    def better(self, one: Config, other: Config, metric: str) -> bool:
        """Whether a config's value is strictly better than another's; both have one."""
        a, b = one.values[metric], other.values[metric]
        assert a is not None
        assert b is not None
        return a > b if self.modes[metric] == "max" else a < b

    def ranked(self, group: str) -> list[Config]:
        """A group's configs: those that finished before the stopped and the failed, each by the first metric."""
        sign = -1 if self.modes[self.metrics[0]] == "max" else 1

        def key(one: Config) -> tuple[int, float, int]:
            value = one.values[self.metrics[0]]
            return ORDER.index(one.status), math.inf if value is None else sign * value, one.number

        return sorted(self.of(group), key=key)

    def best(self, group: str) -> Config | None:
        """The config that was chosen, or would be if the search ended now."""
        names = [one["variant"] for one in self.study.get("best") or [] if self._label(one) == group]
        ranked = [one for one in self.ranked(group) if one.status == "finished" and _whole(one, self.metrics)]
        return next((one for one in self.of(group) if one.name in names), ranked[0] if ranked else None)

    @functools.cached_property
    def fronts(self) -> dict[str, list[Config]]:
        """Group -> the finished configs that no other beats in every metric, along the first metric."""
        return {group: self._front(group) for group in self.groups}

    def count(self, status: str) -> int:
        return sum(one.status == status for one in self.configs)

    def _front(self, group: str) -> list[Config]:
        whole = [one for one in self.ranked(group) if one.status == "finished" and _whole(one, self.metrics)]
        for entry in self.study.get("best") or []:
            if self._label(entry) == group and entry.get("front"):
                return [one for one in whole if one.name in set(entry["front"])]
        front: list[Config] = []
        for one in whole:
            if not any(self._beaten(one, other) for other in front):
                front = [other for other in front if not self._beaten(other, one)] + [one]
        return front

    def _beaten(self, one: Config, other: Config) -> bool:
        return not any(self.better(one, other, metric) for metric in self.metrics) and any(
            self.better(other, one, metric) for metric in self.metrics
        )

    def _label(self, entry: BestRecord) -> str:
        return label(self.study, entry.get("group"))


def search_view(study: StudyRecord, table: pa.Table) -> SearchView:
    """Put a search together from `study.json` and its results.

    Raises:
        UserError: judging cells that must not be compared, as `statistics.compare` says.
    """
    study, rows = study.escaped(), rows_of(table)
    metrics = list(study.get("metrics") or ["map_validation"])
    tuning = [row for row in rows if row.get("stage") != "judge"]
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in tuning:
        by_name.setdefault(row["variant"], []).append(row)
    planned = Counter(cell["variant"] for cell in study.get("cells") or [] if cell.get("stage") != "judge")
    plans = {one["name"]: one for one in study.get("variants") or []}
    configs = tuple(
        _config(study, name, index, plans.get(name, VariantRecord(name=name)), own, planned[name], metrics)
        for index, (name, own) in enumerate(by_name.items())
    )
    groups = dict.fromkeys(one.group for one in configs)
    judged = judge(study, [row for row in rows if row.get("stage") == "judge"], list(groups) or [""])
    return SearchView(study, rows, tuple(sorted(configs, key=lambda one: one.number)), judged)


def label(study: StudyRecord, value: Any) -> str:
    """A group's name.

    >>> label(StudyRecord(study="s", group="hash.bits", variants=[], cells=[]), 24)
    'hash.bits=24'
    """
    if value is None or (isinstance(value, str) and "=" in value):
        return value or ""
    return f"{study['group']}={formats.level(value)}" if study.get("group") else ""


def _config(
    study: StudyRecord,
    name: str,
    index: int,
    plan: VariantRecord,
    rows: list[dict[str, Any]],
    planned: int,
    metrics: list[str],
) -> Config:
    own = plan.levels
    if not own:  # of a search whose study.json does not list its configs: the columns, without what a config has not
        columns = [*(study.get("space") or {}), *([study["group"]] if study.get("group") else [])]
        own = {path: rows[0][path] for path in columns if rows[0].get(path) is not None}
    number = re.match(r"(\d+):", name)
    searched = study.get("space") or own
    status = _status(rows, planned)
    return Config(
        name=name,
        number=int(number[1]) if number else index,
        group=label(study, own.get(study.get("group"))) if study.get("group") else "",
        settings={path: value for path, value in own.items() if path in searched and path != study.get("group")},
        status=status,
        values={metric: _mean(rows, metric) if status != "failed" else None for metric in metrics},
        rows=rows,
    )


def _status(rows: list[dict[str, Any]], planned: int) -> str:
    kinds = {row["status"] for row in rows}
    if "failed" in kinds or "stopped" in kinds:
        return "failed" if "failed" in kinds else "stopped"
    return "finished" if len(rows) >= planned else "unfinished"


def _mean(rows: list[dict[str, Any]], metric: str) -> float | None:
    """Mean over the seeds; None as soon as one has no number, since the others may be the easier seeds."""
    values = [row.get(metric) for row in rows]
    return mean(values) if all(isinstance(v, int | float) and math.isfinite(v) for v in values) else None


def _whole(one: Config, metrics: list[str]) -> bool:
    return all(one.values[metric] is not None for metric in metrics)
