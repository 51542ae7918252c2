"""Run a study from Python, as `raysearch sweep` does, with its progress in a notebook cell."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dashboards import report
from raysearch.api.notebook import CellProgress, in_notebook
from raysearch.api.run_results import RunResults
from raysearch.core import UserError, cli
from raysearch.engine.drivers import sweep_request
from raysearch.messages import Message
from raysearch.runs import results
from raysearch.runs.retention import Keep
from raysearch.studies.design import Study


def run(
    study: str | Path | Study,
    data: str | Path | Mapping[str, str | Path | None] | None = None,
    out: str | Path | None = None,
    *,
    profile: str | None = None,
    settings: Mapping[str, Any] | None = None,
    only: Mapping[str, Sequence[Any]] | None = None,
    seeds: int | None = None,
    trials: int | None = None,
    workers: int = 1,
    gpus_per_worker: float | None = None,
    concurrency: int | None = None,
    address: str | None = None,
    retry_failed: bool = False,
    learn: bool = True,
    learn_from: Sequence[str | Path] = (),
    keep: Literal["best", "last", "none"] | None = None,
) -> RunResults:
    """Run a study, or continue it, and write its report; cells that have finished never run again.

    Args:
        study: an `Ablation`, a `Search`, the name of a study, or the path of a study file.
        data: path or URI of shards made by `raysearch.ingest`, or name -> path of several data sets; None for those of
            the study, the embedded data set, or the task's own.
        out: path or URI of the run directory; None for `runs/STUDY-PROFILE`.
        profile: `laptop` or `paper`; None chooses by the data and the GPUs.
        settings: overrides by dotted path.
        only: factor -> levels of an ablation to run.
        seeds: seeds per variant.
        trials: configs per group of a search.
        workers: Ray Train workers per trial.
        gpus_per_worker: GPUs, or a share of one.
        concurrency: most trials at a time.
        address: of a running Ray cluster; None starts Ray on this machine.
        retry_failed: run cells again that failed.
        learn: let a search learn from finished cells of other runs before its first trial.
        learn_from: run directories or URIs to learn from; empty for the runs beside this one.
        keep: checkpoints of finished cells that stay, as for `raysearch prune`; None: all.

    Raises:
        UserError: what is wrong and what to do; of several mistakes a `UserErrors`.
        KeyboardInterrupt: the user stopped it; the same call continues.
    """
    request = sweep_request.SweepRequest(
        study=str(study) if isinstance(study, Path) else study,
        profile=profile,
        data=_plain_data(data),
        out=None if out is None else str(out),
        seeds=seeds,
        settings=settings or {},
        only=only or {},
        trials=trials,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        concurrency=concurrency,
        address=address,
        retry_failed=retry_failed,
        learn=learn,
        learn_from=[str(place) for place in learn_from],
        keep=None if keep is None else Keep(keep),
    )
    checked = sweep_request.check(request)
    console = cli.console(stderr=True)
    console.quiet = in_notebook()  # a line for people would be an output of its own there
    with _progress() as emit:
        sweep = sweep_request.open_sweep(checked, console, "", emit=emit)
        location = sweep.location
        location.check_writable()
        with sweep.context.interrupt.caught(), location.synced(sweep.context.console.print):
            complete = sweep.run()
            table = results.save_table(location.directory)
            report.write(location.directory, table)
    if not complete and sweep.context.interrupt.wanted:
        raise KeyboardInterrupt
    if not complete:
        raise UserError("the study was stopped before its end; the same call continues it")
    return RunResults(location.directory if location.place is None else str(location.place))


def _plain_data(data: str | Path | Mapping[str, str | Path | None] | None) -> sweep_request.GivenData:
    if isinstance(data, Mapping):
        return {name: None if place is None else str(place) for name, place in data.items()}
    return None if data is None else str(data)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Message], None] | None]:
    """Show the progress in the cell of a notebook; elsewhere the console does."""
    if not in_notebook():
        yield None
        return
    with CellProgress() as progress:
        yield progress.show
