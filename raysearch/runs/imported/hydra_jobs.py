"""Hydra: the folder of a multirun, with a folder per job.

Hydra writes a job's config (`.hydra/config.yaml`) and overrides, and the job's program writes its metrics. These are
read from the one JSON or CSV file that the jobs have in common: an object, lines of objects, or a table of steps.
"""

import json
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.runs.imported import source, tables, yaml_files
from raysearch.runs.imported.registry import READERS, SourceReader
from raysearch.runs.imported.source import Curve, Row, Source

_CONFIG = ".hydra/config.yaml"
_ENDINGS = (".json", ".jsonl", ".csv")
_STEPS = ("step", "epoch", "iteration")


def read_multirun(path: Path, part: str | None = None) -> Source:
    """Read the jobs of a multirun.

    Args:
        path: the folder of the multirun.
        part: the name of the file of metrics, if the jobs have several.

    Raises:
        UserError: a file is damaged, or it is not clear which file holds the metrics.
    """
    jobs = [file.parent.parent for file in _configs(path)][: source.MAX_RUNS]
    shared = {file.name for job in jobs for file in job.iterdir() if file.suffix in _ENDINGS and file.is_file()}
    name = source.choose_part(sorted(shared), part, "file of metrics", path)
    rows = []
    curves = []
    settings: dict[str, None] = {}
    for job in jobs:
        config = source.flat_values(yaml_files.read_mapping(job / _CONFIG))
        metrics, curve = _read_metrics(job / name)
        row = {source.RUN: job.name, source.STATUS: "finished" if metrics else "failed"}
        if not metrics:
            row[source.ERROR] = f"no {name}: the job did not come to its end"
        rows.append({**row, **{key: metrics[key] for key in metrics if key not in config}, **config})
        curves.append(curve)
        settings |= dict.fromkeys(config)
    source.check_sizes(len(rows), 1, path)
    return Source(rows, tuple(settings), curves, path.resolve().name)


def _read_metrics(path: Path) -> tuple[Row, Curve]:
    """Return the metrics of a job and their curve; nothing if it has not written any."""
    if not path.is_file():
        return {}, []
    points = tables.csv_rows(path) if path.suffix == ".csv" else _read_objects(path)
    if not points:
        return {}, []
    numbers = [{name: source.as_number(value) for name, value in point.items()} for point in points]
    curve = [{name: value for name, value in point.items() if value is not None} for point in numbers]
    last = {name: value for point in points for name, value in point.items() if value is not None}
    return {name: value for name, value in last.items() if name not in _STEPS}, curve if len(points) > 1 else []


def _read_objects(path: Path) -> list[Row]:
    """Return the objects of a JSON file, or of a file with an object per line."""
    text = source.read_text(path)
    try:
        value: Any = json.loads(text)
        objects = value if isinstance(value, list) else [value]
    except (ValueError, RecursionError):
        try:
            objects = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError) as error:
            raise UserError(f"'{path}' is not JSON: {error}") from None
    if not all(isinstance(entry, dict) for entry in objects):
        raise UserError(f"'{path}' is damaged: it holds values that are no objects")
    return [source.flat_values(entry) for entry in objects]


def _configs(path: Path) -> list[Path]:
    """Return the configs of a multirun's jobs: below the folder, or below the folder of a day."""
    return sorted([*path.glob(f"*/{_CONFIG}"), *path.glob(f"*/*/{_CONFIG}"), *path.glob(f"*/*/*/{_CONFIG}")])


READERS.register("Hydra multirun", SourceReader(lambda path: path.is_dir() and bool(_configs(path)), read_multirun))
