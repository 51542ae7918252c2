"""Run a study and draw its report.

    python -m raysearch.sweep srem_ablation                     on this machine, with the embedded data set
    python -m raysearch.sweep srem_ablation --data shards/ --set model.backbone=squeezenet1_1
    python -m raysearch.sweep srem_ablation --dry-run           print what would run
    python -m raysearch.sweep srem_ablation --settings          print every setting of the reference
    python -m raysearch.sweep --list                            print the studies that there are
    python -m raysearch.sweep --explain runs/fcaenet_search-laptop   which changes earn the gain of a search

The same command continues an interrupted study: a cell that has finished never runs again.
"""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import typer
from rich.console import RenderableType
from rich.table import Column, Table

from raysearch import messages
from raysearch.core import UserError, cli
from raysearch.data import feed_mode
from raysearch.engine.drivers import study_data, sweep_request
from raysearch.engine.drivers.explanation import request as explain_request
from raysearch.engine.options import Run, RunContext
from raysearch.runs import RunLocation, results
from raysearch.runs.retention import Keep
from raysearch.storage import without_credentials
from raysearch.studies.configs import ConfigFormat
from raysearch.studies.design import describe_reference, list_studies

app = typer.Typer(add_completion=False)

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
    study_name: str = typer.Argument(
        "", metavar="STUDY", show_default=False, help="A name in search_spaces, or the path of a study file."
    ),
    profile: str | None = typer.Option(
        None, rich_help_panel=_STUDY, help="laptop or paper. By default chosen by the data and the GPUs."
    ),
    data: list[str] = typer.Option(
        [],
        metavar="[NAME=]PATH",
        rich_help_panel=_STUDY,
        help="Path or URI (s3://...) of shards made by raysearch.ingest; repeatable with a NAME each. By default the "
        "embedded data set.",
    ),
    out: str | None = typer.Option(
        None,
        metavar="PATH",
        rich_help_panel=_STUDY,
        help="Run directory, a path or URI (s3://...). By default runs/STUDY-PROFILE, with the name of --data.",
    ),
    seeds: str | None = typer.Option(
        None,
        metavar="N|adaptive",
        rich_help_panel=_STUDY,
        help="Number of seeds per variant, or `adaptive`: more only where undecided. By default the study's.",
    ),
    looks: str | None = typer.Option(
        None,
        metavar="N,N,...",
        rich_help_panel=_STUDY,
        help="Numbers of seeds at which an adaptive study is judged. By default 3,5,8,12,20.",
    ),
    margin: float | None = typer.Option(
        None, metavar="DELTA", rich_help_panel=_STUDY, help="An adaptive variant this close to the reference ends."
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
    explain: str | None = typer.Option(
        None,
        metavar="RUN",
        rich_help_panel=_STUDY,
        help="Explain the finished search in RUN: which changes from the reference to the best config earn the gain. "
        "STUDY is needed only for a task of your own.",
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
    learn_from: list[str] = typer.Option(
        [],
        metavar="RUN",
        rich_help_panel=_STUDY,
        help="Run whose finished cells a search learns from before its first trial; repeatable. By default those "
        "beside this one.",
    ),
    no_learn: bool = typer.Option(
        False, "--no-learn", rich_help_panel=_STUDY, help="Let a search learn nothing from other runs."
    ),
    keep: Keep | None = typer.Option(
        None,
        rich_help_panel=_STUDY,
        help="Checkpoints of finished cells that stay. best: those of gallery and export. last: one per cell. "
        "By default all.",
    ),
    log: list[str] = typer.Option(
        [],
        metavar="TRACKER",
        rich_help_panel=_STUDY,
        help="Log every cell to tensorboard, mlflow, wandb or trackio too; repeatable.",
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", rich_help_panel=_STUDY, help="Print the cells and what they will cost; start nothing."
    ),
    effect: float | None = typer.Option(
        None,
        metavar="DELTA",
        rich_help_panel=_STUDY,
        help="With --dry-run: the seeds, hours and cost that find a difference this large.",
    ),
    pilot: str | None = typer.Option(
        None,
        metavar="PATH",
        rich_help_panel=_STUDY,
        help="With --dry-run: run directory whose spread and cost stand for this study's.",
    ),
    json_: bool = typer.Option(
        False,
        "--json",
        rich_help_panel=_STUDY,
        help="Print JSON for programs, an object per line; the last is the outcome.",
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
    dashboard: bool = typer.Option(
        False, "--dashboard", rich_help_panel=_CLUSTER, help="Start the dashboard of Ray on this machine."
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
    if not study_name and explain is None:
        raise UserError("name a study, such as srem_ablation; --list prints those that there are")
    console = cli.console(stderr=json_)
    emit = messages.JsonLines().emit if json_ else None
    if not dry_run and (effect is not None or pilot is not None):
        raise UserError("--effect and --pilot plan a study and run nothing; add --dry-run")
    if settings_ and explain is not None:
        raise UserError("--settings prints the reference of a study, and an explanation has that of its search")
    request = sweep_request.SweepRequest(
        study=study_name,
        profile=profile,
        data=study_data.read_data_words(data) if data else None,
        out=out,
        seeds=seeds,
        looks=looks,
        margin=margin,
        settings=set_,
        only=only,
        episodes=episodes,
        trials=trials,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        concurrency=concurrency,
        address=address,
        storage=storage,
        feed=feed,
        store_share=store_share,
        max_cost=max_cost,
        max_hours=max_hours,
        retry_failed=retry_failed,
        adopt=not no_adopt,
        learn=not no_learn,
        learn_from=learn_from,
        keep=keep,
        trackers=log,
        dashboard=dashboard,
        effect=effect,
        pilot=pilot,
    )
    with console.status("reading the study"):
        if explain is not None:
            checked = explain_request.check(request, explain)
        else:
            checked = sweep_request.check(request, with_data=not settings_)
    if settings_:
        plan = checked.plan
        text = describe_reference(plan.study, plan.definition, plan.reference_config, checked.plan_request, form)
        console.print(text, markup=False)
        return
    sweep = sweep_request.open_sweep(checked, console, _command(), _table_drawer, emit)
    if emit is not None:
        emit(sweep.driver.plan(sweep.context, str(sweep.location)))
    if not dry_run:
        _run(sweep)
    elif emit is None:
        sweep.driver.dry_run(sweep.context)


def _run(sweep: sweep_request.OpenSweep) -> None:
    """Run a study, write its results and report, and print the outcome.

    Raises:
        typer.Exit: 130 when the user stopped it, 143 when SIGTERM did, 1 when every cell failed.
    """
    context = sweep.context
    location = sweep.location
    location.check_writable()
    try:
        with context.interrupt.caught(), location.synced(lambda message: context.console.print(message)):
            complete = sweep.run()
            _report(context, location)
    except KeyboardInterrupt:
        raise typer.Exit(context.interrupt.exit_code) from None
    if not complete:
        context.console.print(f"stopped; to continue: {_command()}")
        raise typer.Exit(context.interrupt.exit_code)


def _report(context: RunContext, location: RunLocation) -> None:
    """Write the table of results and the report, and print what came out.

    Raises:
        typer.Exit: every cell failed.
    """
    from dashboards import report
    from dashboards.outcome import message

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
    if context.emit is not None:
        files = report.written_files(location.directory)
        context.emit(message.outcome(location.directory, str(location), table, files))
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
    cli.run(app, on_error=messages.print_error)
