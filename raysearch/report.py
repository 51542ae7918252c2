"""Write a run's report again, with pictures of its networks; follow, compare or list runs; judge other tools' results.

python -m raysearch.report runs/srem_ablation-laptop                write report.html and tables/
python -m raysearch.report runs/srem_ablation-laptop --gallery      also write gallery.html from the checkpoints
python -m raysearch.report runs/srem_ablation-laptop --live         serve a page that follows the run
python -m raysearch.report /shared/run --out mine                   report a run that is not yours to write to
python -m raysearch.report runs/before runs/after --out compared    write comparison.html and tables/
python -m raysearch.report s3://bucket/results/srem_ablation        report a run in a store
python -m raysearch.report runs/                                    write runs/index.html, an overview of all runs
python -m raysearch.report runs/srem_ablation-laptop --figures pdf  also write each figure alone, for a paper
python -m raysearch.report runs.csv --metric accuracy               report a table, or a store or folder of another tool
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

import dashboards.comparison.page
import dashboards.comparison.tables
import dashboards.report
from dashboards.outcome import message
from dashboards.overview import page as overview_page
from dashboards.overview import rows as overview_rows
from dashboards.papers import files as paper_files
from raysearch import messages
from raysearch.core import UserError, WriteError, cli
from raysearch.runs import RunLocation, imported, results, runs_folder
from raysearch.storage import Location

IMAGES = 6  # pictures of each kind in a gallery

_ELSEWHERE = "Results of other tools; what is not given is guessed and printed"

app = typer.Typer(add_completion=False)


@app.command(
    epilog=cli.examples(
        "raysearch report runs/srem_ablation-laptop --gallery",
        "raysearch report runs/srem_ablation-laptop --live",
        "raysearch report runs/srem_ablation-laptop --figures pdf",
        "raysearch report runs/before runs/after --out compared",
        "raysearch report runs.csv --variant method --seed seed --metric accuracy --reference baseline",
    )
)
def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="run directory of raysearch.sweep: a path or URI; or a folder of several; or results of another tool: "
            "CSV, Parquet, a W&B export, an MLflow or Optuna store, a folder of TensorBoard, Ray Tune or Hydra",
            metavar="RUN...",
        ),
    ],
    out: Path | None = typer.Option(
        None, help="directory to write to; default: RUN, and for a comparison a directory beside the first run"
    ),
    gallery: bool = typer.Option(False, "--gallery", help="also write gallery.html: pictures of the trained networks"),
    figures: list[str] = typer.Option(
        [],
        metavar="pdf|svg|png",
        help="also write each figure alone, at the width of a paper's column, with its caption; repeatable",
    ),
    images: int | None = typer.Option(None, min=1, help=f"pictures of each kind in the gallery; default: {IMAGES}"),
    variant: list[str] = typer.Option(
        [],
        help="a variant of the gallery; default: up to 12, or a search's best. Of other tools' results: a column that "
        "names the variant; repeatable",
    ),
    seed: str | None = typer.Option(
        None,
        metavar="N|COLUMN",
        help="seed of the gallery's networks; default: each variant's median. Of other tools' results: its column",
    ),
    data: str | None = typer.Option(None, help="path or URI of the run's shards, if they have moved"),
    storage: str | None = typer.Option(None, help="path or URI of the checkpoints, if the run used --storage"),
    live: bool = typer.Option(False, "--live", help="serve a page on this machine that follows RUN"),
    port: int | None = typer.Option(None, min=0, max=65535, help="port of the live page; default: a free one"),
    no_open: bool = typer.Option(False, "--no-open", help="do not open a browser with the live page"),
    metric: str | None = typer.Option(None, rich_help_panel=_ELSEWHERE, help="column that is compared"),
    reference: str | None = typer.Option(None, rich_help_panel=_ELSEWHERE, help="variant to compare the others with"),
    mode: str | None = typer.Option(None, metavar="max|min", rich_help_panel=_ELSEWHERE, help="values that are better"),
    step: str | None = typer.Option(
        None, rich_help_panel=_ELSEWHERE, help="column of the step, of a table with a row per step"
    ),
    item: str | None = typer.Option(
        None, rich_help_panel=_ELSEWHERE, help="column of the image or episode, of a table with a row per test item"
    ),
    study: str | None = typer.Option(
        None, rich_help_panel=_ELSEWHERE, help="study or experiment of a store with several; name of a table's study"
    ),
    json_: bool = typer.Option(False, "--json", help="print the outcome as a JSON object, for programs"),
) -> None:
    """Write report.html, tables/ and results.parquet of RUN from its cells, finished or not; or follow RUN.

    For a folder of runs, write index.html: each run with its question, answer, cells, cost, date and report.
    For several runs, write comparison.html and tables/: common variants side by side, later runs against the first.
    Runs whose metric, data or protocol differ are refused.
    """
    formats = paper_files.parse_formats(figures)
    columns = imported.ColumnChoice(tuple(variant), seed, metric, reference, mode, step, item)
    if len(runs) == 1 and runs_folder.holds_runs(runs[0]):
        others = {"--gallery": gallery or None, "--live": live or None, "--json": json_ or None}
        _only_with(False, "one run", others | {"--figures": formats or None})
        with _out_advised():
            _list(runs[0], out)
        return
    if len(runs) == 1 and imported.is_foreign(Path(runs[0])):
        _only_with(False, "a run of raysearch", {"--gallery": gallery or None, "--live": live or None, "--data": data})
        with _out_advised():
            _judge(Path(runs[0]), out, columns, study, formats, json_)
        return
    foreign = {"--metric": metric, "--reference": reference, "--mode": mode, "--step": step, "--item": item}
    _only_with(False, "results of other tools", foreign | {"--study": study})
    pictures = {"--images": images, "--variant": variant or None, "--seed": seed, "--data": data, "--storage": storage}
    _only_with(gallery, "--gallery", pictures)
    _only_with(live, "--live", {"--port": port, "--no-open": no_open or None})
    _only_with(
        not live, "a page that is written", {"--out": out, "--json": json_ or None, "--figures": formats or None}
    )
    _only_with(len(runs) == 1, "one run", {"--gallery": gallery or None, "--live": live or None})
    homes = [RunLocation(run) for run in runs]
    for home in homes:
        home.fetch()
    directories = [home.directory for home in homes]
    if not live:
        place = directories[0] if len(homes) == 1 else dashboards.comparison.page.default_directory(directories)
        cli.check_directory(out or place, "--out")
    if out is not None and len(homes) == 1 and (out / "study.json").exists() and not out.samefile(directories[0]):
        raise UserError(f"--out '{out}' is another run, whose report would be replaced; name another directory")
    if len(homes) > 1:
        with _out_advised():
            _compare(directories, out or place, formats, json_)
    elif live:
        from dashboards.live import server

        with homes[0].watched():
            server.serve(homes[0].directory, port or 0, not no_open, cli.console())
    else:
        if gallery:
            from dashboards.gallery.build import write_gallery  # imports torch, which a report does not need

            with _out_advised():
                write_gallery(homes[0].directory, images or IMAGES, variant, _parse_seed(seed), data, storage, out)
        with _out_advised():
            _draw(homes[0], out, gallery, formats, json_)


def _only_with(active: bool, mode: str, flags: Mapping[str, object]) -> None:
    """Refuse flags of a mode that is not active.

    Raises:
        UserError: one of the flags is given without its mode.
    """
    given = [flag for flag, value in flags.items() if value is not None]
    if given and not active:
        raise UserError(f"{given[0]} is for {mode}")


@contextlib.contextmanager
def _out_advised() -> Iterator[None]:
    """Advise to name another directory if the pages cannot be written, for example into the run of a colleague.

    Raises:
        UserError: they cannot be written.
    """
    try:
        yield
    except WriteError as error:
        raise UserError(
            f"cannot write '{error.filename}': {error.strerror}; name a writable directory with --out"
        ) from error


def _draw(home: RunLocation, out: Path | None, gallery: bool, formats: list[paper_files.Format], json_: bool) -> None:
    run = home.directory
    study = results.read_study(run)
    table = results.save_table(run, out=out)
    path = dashboards.report.write(run, table, out)
    pages = [path.with_name("gallery.html")] * gallery + [path]
    if formats:
        pages.append(paper_files.write_figures(dashboards.report.figures(study, table), path.parent, formats))
    if json_:
        files = dashboards.report.written_files(out or run)
        messages.JsonLines().emit(message.outcome(run, str(home), table, files))
        return
    _print(dashboards.report.terminal(study, table), dashboards.report.answer(study, table), pages)


def _list(folder: str, out: Path | None) -> None:
    """Write the overview of a folder of runs. That of a folder in a store is written beside its mirrors here."""
    homes = runs_folder.runs_in(folder)
    directory = out or homes[0].directory.parent
    cli.check_directory(directory, "--out")
    rows = overview_rows.read_rows(homes)
    path = overview_page.write_overview(rows, str(Location.parse(folder)), directory)
    cli.console().print(overview_page.summary(rows))
    cli.console().print(str(path))


def _judge(
    source: Path,
    out: Path | None,
    columns: imported.ColumnChoice,
    study: str | None,
    formats: list[paper_files.Format],
    json_: bool,
) -> None:
    """Import results of another tool, print how they were understood, and draw their report."""
    directory = out or imported.default_directory(source)
    cli.check_directory(directory, "--out")
    run = imported.import_run(source, directory, columns, study)
    cli.console(stderr=json_).print(run.summary, markup=False, highlight=False)
    _draw(RunLocation(directory), None, False, formats, json_)


def _parse_seed(text: str | None) -> int | None:
    """Return the seed of a gallery.

    Raises:
        UserError: it is not a whole number.
    """
    try:
        return None if text is None else int(text)
    except ValueError:
        raise UserError(f"--seed {text} is not a whole number") from None


def _compare(runs: list[Path], out: Path, formats: list[paper_files.Format], json_: bool) -> None:
    comparison = dashboards.comparison.page.read_comparison(runs)
    paths = [dashboards.comparison.page.write_comparison(comparison, out)]
    if formats:
        paths.append(paper_files.write_figures(dashboards.comparison.page.figures(comparison), out, formats))
    if json_:
        files = {"comparison": str(paths[0])}
        files |= {f"figures/{path.name}": str(path) for folder in paths[1:] for path in sorted(folder.iterdir())}
        answer = dashboards.comparison.page.answer_sentence(comparison)
        messages.JsonLines().emit(messages.ComparisonMessage(runs=list(map(str, runs)), answer=answer, files=files))
        return
    table = dashboards.comparison.tables.terminal_table(comparison)
    _print(table, dashboards.comparison.page.answer_sentence(comparison), paths)


def _print(table: object, answer: str, pages: list[Path]) -> None:
    console = cli.console()
    console.print(table)
    console.print(answer)
    for page in pages:
        console.print(str(page))


if __name__ == "__main__":
    cli.run(app, on_error=messages.print_error)
