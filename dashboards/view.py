"""A run as its report sees it: every planned variant with its comparison, cost and holes, read once.

Whatever an older or an interrupted run does not hold is missing here and fails nothing.
"""

import functools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dashboards import formats
from dashboards.published import Published, read
from raysearch import visible
from raysearch.errors import UserError
from raysearch.studies import statistics

_NUMBERS = {int, float, bool}
LARGEST = 1e300  # numbers beyond are nobody's measurement, and their sums overflow
SIDE = 224  # the image side that a study declares its pixel sizes for


@dataclass(frozen=True)
class Variant:
    """A variant's row. Numbers are None where nothing could be computed."""

    name: str
    label: str  # the name with pixel sizes as run and as declared
    settings: Mapping[str, Any]
    declared: Mapping[str, Any]
    config: Mapping[str, Any]
    reference: str  # name of the variant that it is compared with
    is_reference: bool
    verdict: str  # "reference", "better", "worse", "undecided", "no interval" or "no result"
    compared: Mapping[str, Any]  # the row of statistics.compare
    values: Mapping[int, float]  # metric by seed, of finished cells
    rows: list[dict[str, Any]]  # its ended cells
    missing: int
    seconds: float | None  # mean of the finished cells
    published: tuple[float, str] | None  # value and table

    @property
    def planned(self) -> int:
        return len(self.rows) + self.missing

    @functools.cached_property
    def erased(self) -> float | None:
        """Mean share of the image erased in the last iteration."""
        texts = [row["history"] for row in self.rows if row["status"] == "finished" and row.get("history")]
        last = [(history(text) or [{}])[-1] for text in texts if "erased_fraction" in text]
        shares = [step.get("erased_fraction") for step in last]
        return mean(share for share in shares if isinstance(share, int | float))

    @property
    def holes(self) -> int:
        return self.compared["failed"] + self.compared["stopped"] + self.missing

    def level(self, factor: str) -> Any:
        """The factor's level in the study file's units; as run where the study file's is not known."""
        return self.declared.get(factor, self.settings.get(factor))


@dataclass(frozen=True)
class View:
    """What the page, the tables and the terminal are made from."""

    study: Mapping[str, Any]
    rows: list[dict[str, Any]]  # a row an ended cell
    variants: tuple[Variant, ...]  # the reference first, then as planned
    metric: str
    mode: str
    metric_id: str
    published: Published | None
    missing: int  # planned cells that have not ended

    @property
    def reference(self) -> Variant:
        return self.variants[0]

    @property
    def factors(self) -> list[str]:
        return list(self.study.get("factors") or [])

    @property
    def planned(self) -> int:
        return len(self.rows) + self.missing

    def status(self, name: str) -> int:
        """How many cells ended as `name`."""
        return sum(row["status"] == name for row in self.rows)

    @functools.cached_property
    def histories(self) -> "Histories":
        """Variant -> a history (a dict an iteration) per finished cell; variants without any are left out."""
        return Histories(self.variants)


class Histories(Mapping[str, list[list[dict[str, Any]]]]):
    """Histories by variant. Of a large run a few are drawn, and only those are taken apart and kept."""

    def __init__(self, variants: Iterable[Variant]) -> None:
        self._texts: dict[str, list[str]] = {}
        for one in variants:
            texts = [row["history"] for row in one.rows if row["status"] == "finished" and row.get("history")]
            if any(text not in ("[]", "null") for text in texts):
                self._texts[one.name] = texts
        self._read: dict[str, list[list[dict[str, Any]]]] = {}

    def __getitem__(self, variant: str) -> list[list[dict[str, Any]]]:
        if variant not in self._read:
            self._read[variant] = [one for text in self._texts[variant] if (one := history(text))]
        return self._read[variant]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def view(study: Mapping[str, Any], table: pa.Table) -> View:
    """Put a run together from `study.json` and its results.

    Raises:
        UserError: cells that must not be compared, as `statistics.compare` says.
    """
    study, rows = visible.whole(study), rows_of(table)
    metric, mode = study.get("metric") or "map", study.get("mode") or "max"
    plans = {one["name"]: one for one in study.get("variants") or []}
    plans |= {name: {"name": name} for name in dict.fromkeys(row["variant"] for row in rows) if name not in plans}
    reference = study.get("reference") or next(iter(plans), "reference")
    plans = {reference: plans.get(reference, {"name": reference})} | plans
    references = dict.fromkeys(plans, reference) | {
        name: own for name, own in (study.get("references") or {}).items() if name in plans and own in plans
    }
    compared = _compare(rows, plans, metric, references)
    numbers = read(study.get("published"))
    ended = {(row["variant"], row["seed"]) for row in rows}
    absent = Counter(c["variant"] for c in study.get("cells") or [] if (c["variant"], c["seed"]) not in ended)
    by_variant: dict[str, list[dict[str, Any]]] = {name: [] for name in plans}
    for row in rows:
        by_variant[row["variant"]].append(row)
    variants = tuple(
        _variant(plan, compared[name], by_variant[name], absent[name], (metric, mode, references[name]), numbers)
        for name, plan in plans.items()
    )
    texts = dict.fromkeys(row.get("metric_ids") for row in rows)
    ids = list(dict.fromkeys(str(found[metric]) for text in texts if metric in (found := mapping(loads(text)))))
    # of blocks with a protocol each, as 1 and 5 shots, the cells know the ids and the study only the first
    metric_id = " and ".join(ids) if len(ids) > 1 else study.get("metric_id") or next(iter(ids), metric)
    return View(study, rows, variants, metric, mode, metric_id, numbers, absent.total())


def loads(text: str | None, default: Any = None) -> Any:
    """JSON of a column that older runs may not have."""
    try:
        value = json.loads(text) if text else default
    except (ValueError, RecursionError):
        return default
    return visible.whole(value) if text and "\\u" in text else value


def history(text: str | None) -> list[dict[str, Any]]:
    """A cell's iterations, of each the texts and the numbers; empty for anything else.

    >>> history('[{"loss": 0.5, "more": [1]}]'), history('{"loss": 0.5}'), history(None)
    ([{'loss': 0.5}], [], [])
    """
    steps = loads(text)
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        return []
    # a large run has half a million of these values, so their types are looked up
    return [
        {
            key: value
            for key, value in step.items()
            if type(value) is str or (type(value) in _NUMBERS and -LARGEST < value < LARGEST)
        }
        for step in steps
    ]


def mapping(value: Any) -> Mapping[str, Any]:
    """What should be a mapping, empty where it is none."""
    return value if isinstance(value, Mapping) else {}


def is_number(value: Any) -> bool:
    """Whether a metric has a value: a finished cell without a finite one counts as failed."""
    return value is not None and math.isfinite(value)


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are there."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """A dict a row, in which equal texts are one: most cells of a run say the same of their config and machine.

    Texts are as people may see them.
    """
    texts: dict[str, str] = {}
    columns = []
    for column in table.columns:
        values = column.to_pylist()
        for value in values:
            if isinstance(value, str) and value not in texts:
                texts[value] = visible.text(value)
        columns.append([texts[v] if isinstance(v, str) else v for v in values])
    names = [visible.text(name) for name in table.column_names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _compare(
    rows: list[dict], names: Iterable[str], metric: str, reference: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """The comparison, with an empty row for each variant that has no ended cell, the reference among them."""
    kinds = {"variant": pa.string(), "seed": pa.int64(), "status": pa.string(), "config": pa.string()}
    kinds |= {"metric_ids": pa.string(), metric: pa.float64()}
    planned: list[dict] = [{"variant": name, "status": "planned"} for name in names]
    table = typed(planned + rows, kinds)
    return {row["variant"]: row for row in statistics.compare(table, metric, reference).to_pylist()}


def typed(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """Some columns of rows; a UserError where a value is not of its column's kind."""
    columns = {}
    for key, kind in kinds.items():
        try:
            columns[key] = pa.array([row.get(key) for row in rows], kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            raise UserError(f"column '{key}' of the results holds what is no {kind}") from None
    return pa.table(columns)


def _variant(
    plan: Mapping[str, Any],
    compared: Mapping[str, Any],
    rows: list[dict[str, Any]],
    missing: int,
    question: tuple[str, str, str],
    numbers: Published | None,
) -> Variant:
    metric, mode, reference = question
    name, settings, declared = plan["name"], plan.get("settings") or {}, plan.get("declared") or {}
    finished = [row for row in rows if row["status"] == "finished"]
    # a component of several settings goes by its own name, which no config path has
    levels = {**{key: value for key, value in settings.items() if isinstance(value, bool)}, **declared}
    return Variant(
        name=name,
        label=label(name, settings, declared),
        settings=settings,
        declared=declared,
        config=plan.get("config") or {},
        reference=reference,
        is_reference=name == reference,
        verdict="reference" if name == reference else verdict_of(compared, mode),
        compared=compared,
        values={row["seed"]: row[metric] for row in finished if is_number(row.get(metric))},
        rows=rows,
        missing=missing,
        seconds=mean(row.get("seconds") for row in finished),
        published=numbers.find(levels, metric) if numbers else None,
    )


def label(name: str, settings: Mapping[str, Any], declared: Mapping[str, Any]) -> str:
    """A variant's name, with sizes that were scaled to the image told both ways.

    >>> label("srem.size=5", {"srem.size": 5}, {"srem.size": 16})
    'srem.size=5 px (16 at 224)'
    """
    words = name.split(", ")
    for factor, value in settings.items():
        word = f"{factor}={value}"
        if word in words and scaled(factor, settings, declared):
            words[words.index(word)] = f"{word} px ({declared[factor]} at {SIDE})"
    return ", ".join(words)


def scaled(factor: str, settings: Mapping[str, Any], declared: Mapping[str, Any]) -> bool:
    """Whether a level ran as another number than the study file says, which only sizes in pixels do."""
    values = settings.get(factor), declared.get(factor)
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values) and values[0] != values[1]


def levels(variant: Variant) -> str:
    """The variant's levels of all factors, as run and as declared."""
    words = [f"{key}={formats.level(value)}" for key, value in variant.settings.items()]
    return label(", ".join(words), variant.settings, variant.declared)


def verdict_of(compared: Mapping[str, Any], mode: str) -> str:
    """What a row of `statistics.compare` says of a variant that is not the reference."""
    if compared["mean"] is None:
        return "no result"
    if compared["delta_low"] is None:
        return "no interval"
    if not compared["decided"]:
        return "undecided"
    return "better" if (compared["delta"] > 0) == (mode == "max") else "worse"
