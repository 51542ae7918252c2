"""Run a study and draw its report.

    python -m raysearch.sweep srem_ablation                     on this machine, embedded data set
    python -m raysearch.sweep srem_ablation --data shards/ --set model.backbone=squeezenet1_1
    python -m raysearch.sweep srem_ablation --dry-run           what would run

Run it again and it goes on where it stopped: a cell that finished is never run twice.
"""

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from raysearch.core import cli
from raysearch.core.errors import UserError
from raysearch.core.interrupt import Interrupt
from raysearch.data import shards, synthetic
from raysearch.data.feed_mode import STORE_SHARE, FeedMode
from raysearch.engine.drivers import dry_run as drivers_dry_run
from raysearch.engine.options import Options, Run, cluster_address
from raysearch.runs import describe, results
from raysearch.runs.run_location import RunLocation
from raysearch.runs.study_record import StudyRecord, Surroundings
from raysearch.storage import Location, cache_dir, join_uri, without_credentials
from raysearch.studies.configs import overrides
from raysearch.studies.design import ablation_plan, search_plan, study_files
from raysearch.studies.design.ablation import Ablation

app = typer.Typer(add_completion=False)

_NO_PRICE = (
    "--max-cost: what this machine costs is not known; take --max-hours, or start Ray with a price, "
    "`ray start --head --labels dollars-an-hour=0.98`, and give --address auto; both under RAY_AUTH_MODE=token"
)


@app.command()
def main(
    study: str = typer.Argument(metavar="STUDY", help="a name in search_spaces, or the path of a study file"),
    profile: str | None = typer.Option(None, help="laptop or paper; else by what there is"),
    data: str | None = typer.Option(
        None, help="path or URI (as s3://...) of shards, see raysearch.ingest; else the embedded data set"
    ),
    out: str | None = typer.Option(None, help="run directory, a path or URI (as s3://...); else runs/STUDY-PROFILE"),
    seeds: int | None = typer.Option(None, help="seeds a variant; else the study's"),
    set_: list[str] = typer.Option([], "--set", metavar="PATH=VALUE", help="change the config of every variant"),
    only: list[str] = typer.Option([], metavar="FACTOR=LEVEL", help="these levels of a factor, as hash.bits=12,24"),
    episodes: int | None = typer.Option(None, min=2, help="test episodes; short for --set episodes.test=N"),
    workers: int = typer.Option(1, min=1, help="Ray Train workers a trial"),
    gpus_per_worker: float | None = typer.Option(None, min=0, help="share of a GPU; else 1 where there is one"),
    trials: int | None = typer.Option(None, help="configs of a search; an ablation has as many cells as it plans"),
    concurrency: int | None = typer.Option(None, min=1, help="trials at a time at most; else what the cluster holds"),
    address: str | None = typer.Option(None, help="of a running Ray cluster; else Ray is started on this machine"),
    storage: str | None = typer.Option(None, help="path or URI of the checkpoints, as s3://...; else in --out"),
    feed: FeedMode | None = typer.Option(None, help="images in memory, or decoded as they are needed; else what fits"),
    store_share: float = typer.Option(
        STORE_SHARE, min=0.01, max=0.95, metavar="SHARE", help="of Ray's object store that decoded images may take"
    ),
    max_cost: float | None = typer.Option(None, min=0, metavar="DOLLARS", help="stop when the study has cost so much"),
    max_hours: float | None = typer.Option(None, min=0, metavar="HOURS", help="stop this call after so long"),
    dry_run: bool = typer.Option(False, "--dry-run", help="print the cells and what they will cost; start nothing"),
    retry_failed: bool = typer.Option(False, "--retry-failed", help="run cells again that failed before"),
) -> None:
    """Plan a study, train its missing cells on Ray and write results and report."""
    console = cli.console()
    name, asked = study_files.load_study(study)
    if trials is not None and isinstance(asked, Ablation):
        raise UserError("--trials is for searches; an ablation runs each variant with each seed")
    if max_cost is not None and not cluster_address(address):
        raise UserError(_NO_PRICE)
    if only:
        if not isinstance(asked, Ablation):
            raise UserError("--only is for ablations; a search has a space")
        asked = asked.only(overrides.parse_only(only))
    settings = {**overrides.parse(set_, asked.task), **overrides.test_episodes(episodes, asked.task)}
    chosen, reason = _profile(profile, data, address)
    # All that can be wrong without the images is found before any are drawn.
    _plan(name, asked, chosen, "", settings, seeds, trials, workers)
    directory = _data(data, chosen, console)
    manifest = shards.read_manifest(directory)
    plan = _plan(name, asked, chosen, manifest.content_hash, settings, seeds, trials, workers)
    config = (
        plan.reference.config if isinstance(plan, ablation_plan.AblationPlan) else plan.reference(plan.groups[0]).config
    )
    config.check(manifest.name, manifest.classes, manifest.counts)
    home = RunLocation(out or Path("runs") / f"{name}-{chosen}")
    home.fetch()
    run_dir = home.directory
    surroundings = describe.describe_surroundings(manifest, directory, settings, reason, _command(), config)
    run = Run(run_dir, directory, manifest, _record(plan, surroundings))
    if out and home.place:  # checkpoints go where the results go
        storage = storage or join_uri(out, "checkpoints")
    options = Options(workers, gpus_per_worker, concurrency, address, storage, feed, store_share, max_cost, max_hours)
    reader = results.CellReader(run_dir / "cells")
    interrupt = Interrupt(lambda message: console.print(message))
    if dry_run:
        drivers_dry_run.print_dry_run(plan, run, reader, retry_failed, console)
        return
    home.check_writable()
    with interrupt.caught(), home.synced(lambda message: console.print(message)):
        if isinstance(plan, ablation_plan.AblationPlan):
            complete = _ablation(plan, run, options, reader, retry_failed, console, interrupt)
        else:
            complete = _search(plan, run, options, retry_failed, console, interrupt)
        _finish(home, reader, console)
    if not complete:
        console.print(f"stopped; go on with: {_command()}")
        raise typer.Exit(130)


def _plan(
    name: str,
    asked: study_files.Study,
    profile: str,
    content_hash: str,
    settings: dict[str, Any],
    seeds: int | None,
    trials: int | None,
    workers: int,
) -> ablation_plan.AblationPlan | search_plan.SearchPlan:
    if isinstance(asked, Ablation):
        return ablation_plan.plan_ablation(name, asked, profile, content_hash, settings, seeds, workers)
    plan = search_plan.plan_search(name, asked, profile, content_hash, settings, seeds, trials, workers)
    from raysearch.engine.drivers import search

    search.check(plan)
    return plan


def _ablation(
    plan: ablation_plan.AblationPlan,
    run: Run,
    options: Options,
    reader: results.CellReader,
    retry_failed: bool,
    console: Console,
    interrupt: Interrupt,
) -> bool:
    """Run what is missing of an ablation; returns False when the user stopped it."""
    ended = drivers_dry_run.completed(plan, reader, retry_failed)
    adopted = results.adopt(run.directory, [cell.hash for cell in plan.cells if cell.hash not in ended])
    if adopted:
        ended = drivers_dry_run.completed(plan, reader, retry_failed)
    missing = [cell for cell in plan.cells if cell.hash not in ended]
    _take_over(run.directory, run.record)
    run.record.adopted = (run.record.adopted or 0) + adopted
    results.write_study(run.directory, run.record)
    if not missing:
        console.print(f"all {len(plan.cells)} cells had ended before; nothing to run")
        return True
    from raysearch.engine.drivers.ablation import run_missing

    return run_missing(plan, missing, run, options, console, interrupt)


def _search(
    plan: search_plan.SearchPlan,
    run: Run,
    options: Options,
    retry_failed: bool,
    console: Console,
    interrupt: Interrupt,
) -> bool:
    """Search; returns False when the user stopped it."""
    from raysearch.engine.drivers import search

    # Earlier results stay readable until this call has new ones.
    _take_over(run.directory, run.record, "variants", "cells", "best", "factors")
    results.write_study(run.directory, run.record)
    return search.run_search(plan, run, options, console, interrupt, retry_failed)


def _profile(asked: str | None, data: str | None, address: str | None) -> tuple[str, str]:
    """The profile and why it is this one."""
    if asked == "paper" and data is None:
        raise UserError("the paper profile needs the paper's data: give --data DIR, made by python -m raysearch.ingest")
    if asked:
        return asked, "As asked by --profile."
    if data is None:
        return "laptop", "No --data was given, so this is the embedded data set and a small network."
    if address:
        return "paper", "Data and a cluster were given."
    import torch

    if torch.cuda.is_available():
        return "paper", "Data was given and this machine has a GPU."
    return "laptop", "This machine has no GPU."


def _data(given: str | None, profile: str, console: Console) -> Location:
    if given is not None:
        return Location.parse(given)
    spec = synthetic.SyntheticSpec()
    with console.status(f"drawing the embedded data set, {spec.classes} kinds of birds"):
        return Location.parse(synthetic.ensure_shards(spec, cache_dir()))


def _record(plan: ablation_plan.AblationPlan | search_plan.SearchPlan, surroundings: Surroundings) -> StudyRecord:
    if isinstance(plan, ablation_plan.AblationPlan):
        return describe.describe_ablation(plan, surroundings)
    from raysearch.engine.drivers import search

    return describe.describe_search(plan, search.space_of(plan), surroundings)


def _take_over(run_dir: Path, record: StudyRecord, *more: str) -> None:
    """Copy into the record what earlier calls measured of the same run."""
    if not (run_dir / "study.json").exists():
        record.started = datetime.now(UTC).isoformat(timespec="seconds")
        record.adopted = 0
        return
    measured = ("started", "ended", "wall_seconds", "hardware", "metric_id", "adopted", "cost", *more)
    record.take_over(results.read_study(run_dir), measured)


def _command() -> str:
    return shlex.join(["python", "-m", "raysearch.sweep", *(without_credentials(word) for word in sys.argv[1:])])


def _finish(home: RunLocation, reader: results.CellReader, console: Console) -> None:
    """Write the table and the report, and say what came out."""
    from dashboards import report
    from dashboards.ablation import tables

    run_dir = home.directory
    table = results.save_table(run_dir, reader)
    page = report.write(run_dir, table)
    study = results.read_study(run_dir)
    console.print(tables.terminal(study, table))
    console.print(report.answer(study, table))
    failed = table["status"].to_pylist().count("failed") if table.num_rows else 0
    if failed:
        console.print(f"{failed} cells failed and stay as they are; --retry-failed runs them again")
    console.print(f"report: {page}" + (f", and in {home}" if home.place else ""))
    if failed and failed == table.num_rows:
        console.print(f"every cell failed, the first with: {table['error'][0]}")
        raise typer.Exit(1)


if __name__ == "__main__":
    cli.run(app)
