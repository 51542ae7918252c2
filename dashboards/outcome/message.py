"""The message of a run: its findings, its holes, what runs now, and the command that brings it further."""

import shlex
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from dashboards import report
from dashboards.outcome.findings import Findings
from raysearch.core import sanitize
from raysearch.messages import CellCounts, Hole, Learned, NextStep, ResultMessage, progress_message
from raysearch.runs import StudyRecord, heartbeat, results

_SWEEP = ["python", "-m", "raysearch.sweep"]
_ENOUGH_SEEDS = 5
_LEAST_SEEDS = 3  # for an interval
_CELL_COLUMNS = ("cell", "status", "error")


def outcome(
    run_dir: Path, place: str, table: pa.Table | None = None, files: Mapping[str, str] | None = None
) -> ResultMessage:
    """Return the message of a run, which may still be running.

    Args:
        run_dir: the local run directory.
        place: the path or URI that names the run.
        table: its results, as `results.load` returns them; None loads them.
        files: what was written: kind -> path.

    Raises:
        UserError: the directory is not a run directory, a cell file is damaged, or cells must not be compared.
    """
    study = results.read_study(run_dir)
    cells = results.load(run_dir) if table is None else table
    kind = report.report_kind(study)
    view = kind.view(study, cells)
    findings: Findings = kind.findings(view)
    working = heartbeat.working(run_dir)
    state = "running" if working else "complete" if findings.complete else "incomplete"
    holes = _holes(study, cells)
    count = cells["status"].to_pylist().count if cells.num_rows else [].count
    finished = count("finished")
    failed = count("failed")
    stopped = count("stopped")
    return ResultMessage(
        kind=study.kind or "ablation",
        study=study.study,
        question=study.question or study.study,
        run=place,
        state=state,
        answer=kind.answer(view),
        decided=findings.decided,
        metric=findings.metric,
        reference=study.reference,
        variants=list(findings.variants),
        cells=CellCounts(
            planned=findings.planned,
            finished=finished,
            failed=failed,
            stopped=stopped,
            missing=max(0, findings.planned - finished - failed - stopped),
        ),
        holes=holes,
        learned=[
            Learned(
                group=entry.group,
                configs=entry.configs,
                first=entry.first,
                runs=entry.runs,
                left_out=entry.left_out,
            )
            for entry in study.escaped().learned
        ],
        warnings=list(findings.warnings),
        progress=[progress_message(beat.stage) for beat in working if beat.stage is not None],
        seconds=study.wall_seconds,
        dollars=study.cost.dollars,
        files=dict(files or {}),
        next=_next_step(study, state, findings, failed, place),
    )


def _holes(study: StudyRecord, cells: pa.Table) -> list[Hole]:
    """Return the planned cells without a result. A search stops cells early by design: these are no holes."""
    ended = {row["cell"]: row for row in cells.select(_CELL_COLUMNS).to_pylist()} if cells.num_rows else {}
    holes = []
    for cell in study.cells:
        row = ended.get(cell.cell)
        status = row["status"] if row else "missing"
        if status == "finished" or (status == "stopped" and study.kind == "search"):
            continue
        error = sanitize.escape_controls(str(row["error"])) if row and row["error"] else None
        holes.append(Hole(cell=cell.cell, variant=cell.variant, seed=cell.seed, status=status, error=error))
    return holes


def _next_step(study: StudyRecord, state: str, findings: Findings, failed: int, place: str) -> NextStep | None:
    """Return the command that brings the study further; None if nothing is left to do, or no command is known."""
    if state == "running":
        command = shlex.join(["python", "-m", "raysearch.report", place, "--json"])
        return NextStep(command=command, reason="the sweep is running; this reports it again")
    words = _recorded_words(study)
    if words is None:
        return None
    if state == "incomplete":
        return NextStep(command=shlex.join(words), reason="planned cells have not ended; this continues the sweep")
    if failed:
        reason = f"{failed} cells failed; once the cause is mended, this runs them again"
        return NextStep(command=shlex.join([*words, "--retry-failed"]), reason=reason)
    if study.kind != "search" and len(study.seeds) < _LEAST_SEEDS and len(findings.variants) > 1:
        reason = f"an interval needs at least {_LEAST_SEEDS} seeds, and this run has {len(study.seeds)}"
        return NextStep(command=shlex.join([*words, "--seeds", str(_ENOUGH_SEEDS)]), reason=reason)
    return None


def _recorded_words(study: StudyRecord) -> list[str] | None:
    """Return the words of the recorded command if it is a sweep; a run from elsewhere may record anything."""
    try:
        words = shlex.split(study.command or "")
    except ValueError:
        return None
    return words if words[: len(_SWEEP)] == _SWEEP and sanitize.one_line(study.command or "") == study.command else None
