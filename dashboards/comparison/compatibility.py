"""Whether runs may stand in one table: metric, data and the protocol of the evaluation must be the same.

What decides how a result is counted is refused when it differs; what may honestly differ (code, machine, seeds,
schedule) is listed beside the numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.ablation.view import Variant, View
from dashboards.html import formats
from dashboards.run_data.config_diff import flat
from dashboards.run_data.result_rows import loads, mapping
from raysearch.core.errors import UserError

# Config paths that decide what is evaluated on. Within a run they may be factors, and variants then say them.
_EPISODES = ("ways", "shots", "queries", "test", "seed")
PROTOCOL = ("data.side", "data.zoom", "data.split", *(f"episodes.{name}" for name in _EPISODES))


def check(runs: Mapping[str, View]) -> None:
    """Refuse runs whose numbers are not of one kind.

    Args:
        runs: by what they are called, in order; all are held against the first.

    Raises:
        UserError: the first thing that differs, in which runs, and how.
    """
    (first, one), *others = runs.items()
    for name, other in others:
        for what, of_first, of_other in _identity(one, other):
            if of_first != of_other:
                raise UserError(
                    f"'{first}' and '{name}' cannot be compared: {what} {_word(of_first)} and {_word(of_other)}"
                )


def _identity(one: View, other: View) -> list[tuple[str, Any, Any]]:
    """(what, of one run, of the other) for all that must be the same, what says most first."""
    parts: list[tuple[str, Any, Any]] = [
        ("their tasks are", _task(one), _task(other)),
        ("their metrics are", one.metric, other.metric),
    ]
    parts += [("they want the metric", one.mode, other.mode)]
    if not ids(one) & ids(other):  # where the protocol is a factor a run has several, and shares some with the other
        parts.append(("the metric's ids are", sorted(ids(one)), sorted(ids(other))))
    parts += [("the content hashes of their data are", _data(one), _data(other))]
    free = {*one.factors, *other.factors} | _moved(one) | _moved(other)
    settings = protocol(one), protocol(other)
    for path in PROTOCOL:
        # a path that only one of the two configs has is of another task or version, which is refused above or listed
        if path not in free and all(path in each for each in settings):
            parts.append((f"{path} is", settings[0][path], settings[1][path]))
    return parts


def protocol(run: View) -> dict[str, list[Any]]:
    """Protocol path -> its values over the run's variants."""
    found: dict[str, list[Any]] = {}
    for one in run.variants:
        config = config_of(one)
        for path in PROTOCOL:
            if path in config and config[path] not in found.setdefault(path, []):
                found[path].append(config[path])
    return found


def config_of(variant: Variant) -> dict[str, Any]:
    """A variant's config by dotted path, as its cells hold it: without what cannot matter."""
    texts = dict.fromkeys(row["config"] for row in variant.rows if row.get("config"))
    config = loads(next(iter(texts), None)) or variant.config
    return flat(config) if isinstance(config, Mapping) else {}


def _moved(run: View) -> set[str]:
    """Paths of the protocol that a factor with a name of its own sets."""
    return {path for path, values in protocol(run).items() if len(values) > 1}


def _task(run: View) -> str:
    return str(run.study.get("task") or "retrieval")


def ids(run: View) -> set[str]:
    """The ids of the run's metric: one, or where the protocol is a factor one for each of its levels."""
    return {one for variant in run.variants if (one := id_of(variant, run.metric))} or {run.metric_id}


def id_of(variant: Variant, metric: str) -> str | None:
    """What exactly a variant's metric is; None without a cell that says it."""
    texts = dict.fromkeys(row.get("metric_ids") for row in variant.rows if row["status"] == "finished")
    found = [mapping(loads(text)).get(metric) for text in texts]
    return next((str(one) for one in found if one is not None), None)


def _data(run: View) -> list[str]:
    """Of the cells, which know best; of a run without any, what was planned."""
    hashes = {str(row["data"]) for row in run.rows if row.get("data")}
    return sorted(hashes) or [str(run.study.data.content_hash or "not recorded")]


def _word(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return formats.listed([formats.level(one) for one in value])
    return formats.level(value)
