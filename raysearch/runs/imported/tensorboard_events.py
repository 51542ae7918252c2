"""TensorBoard: a folder of event files, with a folder per run.

Variant and seed are hyper-parameters of a run, or words of its path, such as `baseline/seed-3` or `vit_seed3`.
"""

import logging
import re
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.runs.imported import source
from raysearch.runs.imported.registry import READERS, SourceReader
from raysearch.runs.imported.source import Row, Source

_EVENTS = "events.out.tfevents."
_SEED = re.compile(r"(?:^|[/_.\- ])seed[=_\- ]?(\d+)(?=$|[/_.\- ])", re.IGNORECASE)
_MAX_DEPTH = 6  # folders below the one that was named
_ALL = 0  # points of a curve that the library keeps


def read_folder(path: Path, part: str | None = None) -> Source:
    """Read the runs below a folder.

    Raises:
        UserError: the library is missing, or no run has a scalar.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise UserError("event files need tensorboard; pip install 'raysearch[tensorboard]'") from None
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    rows = []
    curves = []
    settings: dict[str, None] = {}
    for folder in sorted({file.parent for file in _event_files(path)})[: source.MAX_RUNS]:
        events = EventAccumulator(str(folder), size_guidance={"scalars": _ALL, "tensors": _ALL})
        try:
            events.Reload()
            scalars = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
        except Exception as error:  # of the library, for a damaged file
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            raise UserError(f"the event files in '{folder}' cannot be read: {reason}") from None
        if not scalars:
            continue
        known = _hyper_parameters(events) or _words_of(str(folder.relative_to(path)))
        metrics = {tag: float(points[-1].value) for tag, points in scalars.items() if points}
        run: Row = {source.RUN: str(folder.relative_to(path))}
        rows.append({**run, **{tag: value for tag, value in metrics.items() if tag not in known}, **known})
        curves.append(_curve(scalars))
        settings |= dict.fromkeys(known)
    source.check_sizes(len(rows), 1, path)
    return Source(rows, tuple(settings), curves, path.resolve().name)


def _hyper_parameters(events: Any) -> Row:
    """Return the hyper-parameters of a run as TensorBoard's plugin of that name stores them; empty without any."""
    from tensorboard.plugins.hparams import plugin_data_pb2

    values: Row = {}
    for tag in events.PluginTagToContent("hparams") if "hparams" in _plugins(events) else ():
        content = events.SummaryMetadata(tag).plugin_data.content
        start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
        for name, value in start.hparams.items():
            kind = value.WhichOneof("kind")
            number = getattr(value, kind) if kind else None
            values[name] = int(number) if isinstance(number, float) and number.is_integer() else number
    return values


def _plugins(events: Any) -> set[str]:
    return {events.SummaryMetadata(tag).plugin_data.plugin_name for tag in events.Tags()["tensors"]}


def _words_of(name: str) -> Row:
    """Return the variant and the seed that the path of a run names.

    >>> _words_of("baseline/seed-3"), _words_of("vit_seed3"), _words_of("vit")
    ({'variant': 'baseline', 'seed': 3}, {'variant': 'vit', 'seed': 3}, {'variant': 'vit'})
    """
    match = _SEED.search(name)
    if match is None:
        return {"variant": name}
    variant = (name[: match.start()] + name[match.end() :]).strip("/_.- ")
    return {"variant": variant or "all", "seed": int(match[1])}


def _curve(scalars: dict[str, Any]) -> source.Curve:
    steps: dict[int, dict[str, float]] = {}
    for tag, points in scalars.items():
        if len(points) > 1:
            for point in points:
                steps.setdefault(point.step, {})[tag] = float(point.value)
    return [{"step": float(step), **values} for step, values in sorted(steps.items())]


def _event_files(path: Path) -> list[Path]:
    patterns = ["*/" * depth + f"{_EVENTS}*" for depth in range(_MAX_DEPTH)]
    return [file for pattern in patterns for file in path.glob(pattern) if file.is_file()]


READERS.register(
    "TensorBoard folder", SourceReader(lambda path: path.is_dir() and bool(_event_files(path)), read_folder)
)
