"""Checks that runs can be compared: metric, data and evaluation protocol must be equal.

A difference in how a result is computed is refused. Differences in code, machine, seeds or schedule are allowed; the
page lists them beside the numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.ablation.config_diff import flat
from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import formats
from dashboards.run_data import loads, mapping
from raysearch.core import UserError

# Config paths that decide what a model is evaluated on. They may be factors within a run; the variants then name them.
_EPISODE_KEYS = ("ways", "shots", "queries", "test", "seed")
PROTOCOL = ("data.side", "data.zoom", "data.split", *(f"episodes.{key}" for key in _EPISODE_KEYS))


def check_comparable(runs: Mapping[str, View]) -> None:
    """Refuse runs whose numbers cannot be compared.

    Args:
        runs: by name; all are checked against the first.

    Raises:
        UserError: two runs differ; the message names the first property that differs, and both values.
    """
    (first_name, first), *others = runs.items()
    for name, run in others:
        for description, first_value, value in _properties(first, run):
            if first_value != value:
                difference = f"{description} {_text(first_value)} and {_text(value)}"
                raise UserError(f"'{first_name}' and '{name}' cannot be compared: {difference}")


def _properties(first: View, run: View) -> list[tuple[str, Any, Any]]:
    """Return (description, value in one run, value in the other) of all that must be equal, most important first."""
    properties: list[tuple[str, Any, Any]] = [
        ("their tasks are", _task(first), _task(run)),
        ("their metrics are", first.metric, run.metric),
        ("the directions of their metrics are", first.mode, run.mode),
    ]
    if not first.rows or not run.rows:  # without an ended cell neither ids nor data are recorded, and nothing differs
        return properties
    if not metric_ids(first) & metric_ids(run):  # a run whose protocol is a factor has several ids, and shares some
        properties.append(("the metric's ids are", sorted(metric_ids(first)), sorted(metric_ids(run))))
    properties.append(("the content hashes of their data are", _data_hashes(first), _data_hashes(run)))
    varied = {*first.factors, *run.factors} | _varied_protocol(first) | _varied_protocol(run)
    first_protocol = protocol_values(first)
    protocol = protocol_values(run)
    # A path that only one config has belongs to another task or version, which is refused above or listed.
    shared = [path for path in PROTOCOL if path not in varied and path in first_protocol and path in protocol]
    properties += [(f"{path} is", first_protocol[path], protocol[path]) for path in shared]
    return properties


def protocol_values(run: View) -> dict[str, list[Any]]:
    """Return the values of each protocol path over a run's variants."""
    values: dict[str, list[Any]] = {}
    for variant in run.variants:
        config = flat_config(variant)
        for path in PROTOCOL:
            if path in config and config[path] not in values.setdefault(path, []):
                values[path].append(config[path])
    return values


def flat_config(variant: Variant) -> dict[str, Any]:
    """Return a variant's config by dotted path, as its cells record it: without settings that have no effect."""
    texts = dict.fromkeys(row["config"] for row in variant.rows if row.get("config"))
    config = loads(next(iter(texts), None)) or variant.config
    return flat(config) if isinstance(config, Mapping) else {}


def metric_ids(run: View) -> set[str]:
    """Return the ids of the run's metric: one, or one per level if the protocol is a factor."""
    ids = {metric_id_of(variant, run.metric) for variant in run.variants} - {None}
    return {str(metric_id) for metric_id in ids} or {run.metric_id}


def metric_id_of(variant: Variant, metric: str) -> str | None:
    """Return the id of a variant's metric; None if no cell records it."""
    texts = dict.fromkeys(row.get("metric_ids") for row in variant.rows if row["status"] == "finished")
    ids = [mapping(loads(text)).get(metric) for text in texts]
    return next((str(metric_id) for metric_id in ids if metric_id is not None), None)


def _varied_protocol(run: View) -> set[str]:
    """Return the protocol paths that vary within a run, by a factor with another name."""
    return {path for path, values in protocol_values(run).items() if len(values) > 1}


def _task(run: View) -> str:
    return run.study.task or "retrieval"


def _data_hashes(run: View) -> list[str]:
    """Return the data hashes that the cells record; without any cell, the planned one."""
    hashes = {str(row["data"]) for row in run.rows if row.get("data")}
    return sorted(hashes) or [run.study.data.content_hash or "not recorded"]


def _text(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return formats.listed([formats.level(entry) for entry in value])
    return formats.level(value)
