"""Run a study and draw its report.

    python -m raysearch.sweep srem_ablation                     on this machine, with the embedded data set
    python -m raysearch.sweep srem_ablation --data shards/ --set model.backbone=squeezenet1_1
    python -m raysearch.sweep srem_ablation --dry-run           print what would run
    python -m raysearch.sweep srem_ablation --settings          print every setting of the reference
    python -m raysearch.sweep --list                            print the studies that there are

The same command continues an interrupted study: a cell that has finished never runs again.
"""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import typer
from rich.console import Console, RenderableType
from rich.table import Column, Table

from raysearch.core import Interrupt, Problems, UserError, cli
from raysearch.data import class_splits, evaluation_limits, feed_mode, shards, synthetic
from raysearch.engine import devices
from raysearch.engine.drivers import Driver, open_driver
from raysearch.engine.options import Options, Run, RunContext, check_gpus, cluster_address
from raysearch.engine.preflight import study_check
from raysearch.runs import RunLocation, continuation, describe, results
from raysearch.storage import Location, cache_dir, join_uri, without_credentials
from raysearch.studies.configs import TASKS, ConfigFormat
from raysearch.studies.design import PlanRequest, describe_reference, list_studies

app = typer.Typer(add_completion=False)

_NO_PRICE = (
    "--max-cost: the price of this machine is not known; use --max-hours, or start Ray with a price, "
    "`ray start --head --labels dollars-an-hour=0.98`, and give --address auto; both under RAY_AUTH_MODE=token"
)
_EMBEDDED = "No --data was given, so this is the embedded data set and a small network."
_STUDY = "What to run"
_CLUSTER = "Where to run"
_LIMITS = "When to stop"


def _list_studies(wanted: bool) -> None:
    """Print the studies that ship with raysearch and those in this directory.

    Raises:
        typer.Exit: the list was asked for.
    """
    if wanted:
        console = cli.console()
        console.print(_studies_table())
        console.print("a cell is one training run, of seconds in the laptop profile; --dry-run lists a study's cells")
        raise typer.Exit


@app.command(
    epilog=cli.examples(
        "raysearch sweep --list",
        "raysearch sweep srem_ablation --dry-run",
        "raysearch sweep my_study.py --data shards/ --set data.side=96 --seeds 3",
        "raysearch sweep hashing_baselines --only hash.bits=24 --only method=ITQ,LSH",
    )
)
def main(
    study_name: str = typer.Argument(metavar="STUDY", help="A name in search_spaces, or the path of a study file."),
    profile: str | None = typer.Option(
        None, rich_help_panel=_STUDY, help="laptop or paper. By default chosen by the data and the GPUs."
    ),
    data: str | None = typer.Option(
        None,
        metavar="PATH",
        rich_help_panel=_STUDY,
        help="Path or URI (s3://...) of shards made by raysearch.ingest. By default the embedded data set.",
    ),
    out: str | None = typer.Option(
        None,
        metavar="PATH",
        rich_help_panel=_STUDY,
        help="Run directory, a path or URI (s3://...). By default runs/STUDY-PROFILE, with the name of --data.",
    ),
    seeds: int | None = typer.Option(
        None, rich_help_panel=_STUDY, help="Number of seeds per variant. By default the study's."
    ),
    set_: list[str] = typer.Option(
        [], "--set", metavar="PATH=VALUE", rich_help_panel=_STUDY, help="Change the config of every variant."
    ),
    only: list[str] = typer.Option(
        [],
        metavar="FACTOR=LEVEL",
        rich_help_panel=_STUDY,
        help="Run only these levels of a factor, for example hash.bits=12,24.",
    ),
    episodes: int | None = typer.Option(
        None, min=2, rich_help_panel=_STUDY, help="Number of test episodes; the same as --set episodes.test=N."
    ),
    trials: int | None = typer.Option(
        None, rich_help_panel=_STUDY, help="Number of configs that a search tries. By default the study's."
    ),
    retry_failed: bool = typer.Option(
        False,
        "--retry-failed",
        rich_help_panel=_STUDY,
        help="Run cells again that failed before. Those that failed for a missing file or a full disk always are.",
    ),
    no_adopt: bool = typer.Option(
        False, "--no-adopt", rich_help_panel=_STUDY, help="Take no finished cells over from runs beside this one."
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", rich_help_panel=_STUDY, help="Print the cells and what they will cost; start nothing."
    ),
    settings_: bool = typer.Option(
        False, "--settings", rich_help_panel=_STUDY, help="Print every setting of the reference; start nothing."
    ),
    form: ConfigFormat = typer.Option(
        ConfigFormat.TEXT, "--format", rich_help_panel=_STUDY, help="How --settings prints them."
    ),
    list_: bool = typer.Option(
        False,
        "--list",
        is_eager=True,
        expose_value=False,
        callback=_list_studies,
        rich_help_panel=_STUDY,
        help="Print the studies that ship with raysearch and those in this directory.",
    ),
    address: str | None = typer.Option(
        None, rich_help_panel=_CLUSTER, help="Address of a running Ray cluster. By default Ray starts on this machine."
    ),
    workers: int = typer.Option(1, min=1, rich_help_panel=_CLUSTER, help="Ray Train workers per trial."),
    gpus_per_worker: float | None = typer.Option(
        None, min=0, rich_help_panel=_CLUSTER, help="GPUs per worker, or a share of one. By default 1 if there are any."
    ),
    concurrency: int | None = typer.Option(
        None, min=1, rich_help_panel=_CLUSTER, help="Most trials at a time. By default as many as the cluster holds."
    ),
    storage: str | None = typer.Option(
        None,
        metavar="PATH",
        rich_help_panel=_CLUSTER,
        help="Path or URI (s3://...) of the checkpoints. By default below --out.",
    ),
    feed: feed_mode.FeedMode | None = typer.Option(
        None, rich_help_panel=_CLUSTER, help="Keep images in memory, or decode them when needed. By default what fits."
    ),
    store_share: float = typer.Option(
        feed_mode.STORE_SHARE,
        min=0.01,
        max=0.95,
        metavar="SHARE",
        rich_help_panel=_CLUSTER,
        help="Share of Ray's object store that decoded images may use.",
    ),
    max_cost: float | None = typer.Option(
        None, min=0, metavar="DOLLARS", rich_help_panel=_LIMITS, help="Stop when the study has cost this much."
    ),
    max_hours: float | None = typer.Option(
        None, min=0, metavar="HOURS", rich_help_panel=_LIMITS, help="Stop this call after this many hours."
    ),
) -> None:
    """Plan a study, train its missing cells on Ray, and write results and report."""
    console = cli.console()
    data = cli.absolute(data) if data is not None else None  # workers run in other directories
    out = os.path.expanduser(out) if out is not None else None
    # Everything that can be wrong is reported together, before any image is drawn.
    problems = Problems()
    if max_cost is not None and not cluster_address(address):
        problems.add(_NO_PRICE)
    with problems.caught():
        check_gpus(workers, gpus_per_worker)
    manifest = None
    with problems.caught():
        manifest = shards.read_manifest(Location.parse(data)) if data is not None and not settings_ else None
    with problems.caught():
        if profile is None and data is not None and cluster_address(address):
            gpus_per_worker = devices.resolve_gpus(gpus_per_worker, address)
        profile, profile_reason = _choose_profile(profile, data, gpus_per_worker if cluster_address(address) else None)
    request = study_check.StudyRequest(study_name, profile or "laptop", set_, only, episodes, seeds, trials, workers)

    def _count(task: str) -> evaluation_limits.DataCounts | None:
        return None if settings_ or not _has_images(task, data) else _count_images(data, manifest)

    with problems.caught():
        plan = study_check.check_request(request, _count)
    problems.raise_all()
    if settings_:
        planned = PlanRequest(plan.study, request.profile, plan.settings)
        text = describe_reference(plan.study, plan.definition, plan.reference_config, planned, form)
        console.print(text, markup=False)
        return

    shards_location = _locate_shards(data, console) if _has_images(plan.task, data) else None
    if manifest is None:
        manifest = shards.read_manifest(shards_location) if shards_location is not None else shards.NO_DATA
    if shards_location is None and profile_reason == _EMBEDDED:
        profile_reason = "No --data was given; the task loads its own."
    gpus = devices.resolve_gpus(gpus_per_worker, address)
    plan = plan.for_data(class_splits.data_identity(manifest), devices.study_device(gpus, address))
    driver = open_driver(plan)
    surroundings = describe.describe_surroundings(
        manifest, shards_location, plan.settings, profile_reason, _command(), plan.reference_config
    )
    record = driver.describe(surroundings)
    chosen = continuation.choose_run(out, record, embedded=data is None)
    location = chosen.location
    if chosen.note:
        console.print(chosen.note, markup=False)
    if out and location.place:  # checkpoints go where the results go
        storage = storage or join_uri(out, "checkpoints")
    run = Run(location.directory, shards_location, manifest, record)
    options = Options(
        workers=workers,
        gpus_per_worker=gpus,
        concurrency=concurrency,
        address=address,
        storage=storage,
        feed=feed,
        store_share=store_share,
        max_cost=max_cost,
        max_hours=max_hours,
        retry_failed=retry_failed,
        adopt=not no_adopt,
    )
    interrupt = Interrupt(lambda message: console.print(message))
    context = RunContext(run, options, console, interrupt, _table_drawer(run))
    if dry_run:
        driver.dry_run(context)
    else:
        _run(driver, context, location)


def _run(driver: Driver, context: RunContext, location: RunLocation) -> None:
    """Run a study, write its results and report, and print the outcome.

    Raises:
        typer.Exit: 130 when the user stopped it, 1 when every cell failed.
    """
    location.check_writable()
    with context.interrupt.caught(), location.synced(lambda message: context.console.print(message)):
        complete = driver.run(context)
        _report(context, location)
    if not complete:
        context.console.print(f"stopped; to continue: {_command()}")
        raise typer.Exit(130)


def _report(context: RunContext, location: RunLocation) -> None:
    """Write the table of results and the report, and print what came out.

    Raises:
        typer.Exit: every cell failed.
    """
    from dashboards import report

    console = context.console
    table = results.save_table(location.directory, results.CellReader(context.run.cells))
    page = report.write(location.directory, table)
    study = results.read_study(location.directory)
    console.print(report.terminal(study, table))
    console.print(report.answer(study, table))
    failed = table["status"].to_pylist().count("failed") if table.num_rows else 0
    if failed:
        rows = [row for row in table.select(["cell", "status", "error"]).to_pylist() if row["status"] == "failed"]
        by_input = sum(results.failed_by_input(context.run.cells, row) for row in rows)
        if by_input:
            console.print(f"{by_input} cells failed for a reason that is no result; the same command runs them again")
        if failed > by_input:
            console.print(f"{failed - by_input} cells failed and stay as they are; --retry-failed runs them again")
    console.print(f"report: {page}" + (f", and in {location}" if location.place else ""))
    console.print(f"wrote {location.directory}: report.html, results.parquet, study.json, cells/, tables/")
    if failed and failed == table.num_rows:
        console.print(f"every cell failed, the first with: {table['error'][0]}")
        raise typer.Exit(1)


def _table_drawer(run: Run) -> Callable[[], RenderableType]:
    """Return a function that draws the results so far. It opens each cell's file once."""
    reader = results.CellReader(run.cells)

    def _draw() -> RenderableType:
        from dashboards import report

        table = results.table(run.record, reader.read(cell.cell for cell in run.record.cells))
        return report.terminal(run.record, table) if table.num_rows else ""

    return _draw


def _choose_profile(given: str | None, data: str | None, gpus_per_worker: float | None) -> tuple[str, str]:
    """Return the profile and the reason for it.

    Args:
        given: by the user.
        data: the location of the data; None for the embedded data set.
        gpus_per_worker: on a cluster, whose GPUs count there; None on this machine.

    Raises:
        UserError: the paper's profile without data.
    """
    if given == "paper" and data is None:
        raise UserError("the paper profile needs the paper's data: give --data DIR, made by python -m raysearch.ingest")
    if given:
        return given, "As asked by --profile."
    if data is None:
        return "laptop", _EMBEDDED
    if gpus_per_worker is not None:
        if gpus_per_worker:
            return "paper", "Data was given and workers have GPUs of the cluster."
        return "laptop", "Workers have no GPU of the cluster."
    import torch

    if torch.cuda.is_available():
        return "paper", "Data was given and this machine has a GPU."
    return "laptop", "This machine has no GPU."


def _has_images(task: str, data: str | None) -> bool:
    """Return whether a study of a task has images: those of --data, or the embedded ones where the task needs some."""
    return data is not None or TASKS[task].needs_images


def _count_images(data: str | None, manifest: shards.Manifest | None) -> evaluation_limits.DataCounts | None:
    """Return the images of each class: of the data given, or of the embedded data set; None if they are not known."""
    if manifest is not None:
        return evaluation_limits.DataCounts(manifest.name, manifest.classes, manifest.counts)
    return synthetic.count_images(synthetic.SyntheticSpec()) if data is None else None


def _locate_shards(given: str | None, console: Console) -> Location:
    """Return where the shards are: those given, or the embedded data set, which is drawn unless it is in the cache."""
    if given is not None:
        return Location.parse(given)
    spec = synthetic.SyntheticSpec()
    with console.status(f"drawing the embedded data set, {spec.classes} kinds of birds"):
        return Location.parse(synthetic.ensure_shards(spec, cache_dir()))


def _studies_table() -> Table:
    """Return a table of the studies that can be run from here."""
    table = Table("study", "kind", Column("cells", justify="right"), "question")
    for study in list_studies(Path()):
        table.add_row(study.name, study.kind, str(study.cells or ""), study.question)
    return table


def _command() -> str:
    """Return the command that continues the run, without passwords."""
    return shlex.join(["python", "-m", "raysearch.sweep", *(without_credentials(word) for word in sys.argv[1:])])


if __name__ == "__main__":
    cli.run(app)
