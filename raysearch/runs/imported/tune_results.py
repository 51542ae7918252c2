"""Ray Tune: the folder of an experiment, with a folder per trial (`params.json`, `result.json`, `error.txt`)."""

import json
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.runs.imported import source
from raysearch.runs.imported.registry import READERS, SourceReader
from raysearch.runs.imported.source import Source

_RESULT = "result.json"
_PARAMS = "params.json"
_ERROR = "error.txt"
# What Tune adds to the metrics of a trial.
_TUNE_METRICS = {
    "checkpoint_dir_name", "config", "date", "done", "experiment_tag", "hostname", "iterations_since_restore",
    "node_ip", "pid", "should_checkpoint", "time_since_restore", "time_this_iter_s", "timestamp", "time_total_s",
    "training_iteration", "trial_id",
}  # fmt: skip


def read_experiment(path: Path, part: str | None = None) -> Source:
    """Read the trials of an experiment.

    Raises:
        UserError: a file is damaged, or there is no trial.
    """
    rows = []
    curves = []
    settings: dict[str, None] = {}
    for file in sorted(path.glob(f"*/{_PARAMS}"))[: source.MAX_RUNS]:
        folder = file.parent
        config = source.read_json(file)
        if not isinstance(config, dict):
            raise UserError(f"'{file}' is damaged: it holds no mapping")
        params = source.flat_values(config)
        reports = _read_reports(folder / _RESULT)
        last = reports[-1] if reports else {}
        row = {source.RUN: folder.name, source.STATUS: "finished" if last.get("done") else "stopped"}
        if (folder / _ERROR).is_file():
            lines = source.read_text(folder / _ERROR).strip().splitlines()
            row |= {source.STATUS: "failed", source.ERROR: lines[-1] if lines else "no message"}
        elif not reports:
            row[source.STATUS] = "stopped"
        metrics = _metrics_of(last)
        rows.append({**row, **{name: metrics[name] for name in metrics if name not in params}, **params})
        curves.append([_point(report) for report in reports])
        settings |= dict.fromkeys(params)
    source.check_sizes(len(rows), 1, path)
    return Source(rows, tuple(settings), curves, path.resolve().name)


def _read_reports(path: Path) -> list[dict[str, Any]]:
    """Return the reports of a trial. A last line that was cut off when the trial was killed is left out."""
    if not path.is_file():
        return []
    lines = source.read_text(path).splitlines()
    reports = []
    for number, line in enumerate(lines, start=1):
        try:
            report = json.loads(line)
            if not isinstance(report, dict):
                raise ValueError("it is no mapping")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise UserError(f"'{path}', line {number}, is damaged: {error}") from None
        reports.append(report)
    return reports


def _metrics_of(report: dict[str, Any]) -> source.Row:
    return source.flat_values({name: value for name, value in report.items() if name not in _TUNE_METRICS})


def _point(report: dict[str, Any]) -> dict[str, float]:
    values = {name: source.as_number(value) for name, value in _metrics_of(report).items()}
    step = source.as_number(report.get("training_iteration"))
    return {
        **({} if step is None else {"step": step}),
        **{name: value for name, value in values.items() if value is not None},
    }


READERS.register(
    "Ray Tune experiment",
    SourceReader(lambda path: path.is_dir() and any(path.glob(f"*/{_PARAMS}")), read_experiment),
)
