"""Draw a run's report and tables again, with pictures of its networks; follow a run; put runs side by side.

python -m raysearch.report runs/srem_ablation-laptop                report.html and tables/ anew
python -m raysearch.report runs/srem_ablation-laptop --gallery      gallery.html too, from the checkpoints
python -m raysearch.report runs/srem_ablation-laptop --live         a page in the browser that is always up to date
python -m raysearch.report runs/before runs/after --out compared    comparison.html and tables/
python -m raysearch.report s3://bucket/results/srem_ablation        a run whose home is a store
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

import dashboards.comparison.page
import dashboards.comparison.tables
import dashboards.report
from raysearch.core import UserError, cli, sanitize
from raysearch.runs import RunLocation, results

IMAGES = 6  # pictures of each kind in a gallery

app = typer.Typer(add_completion=False)


@app.command()
def report(
    runs: Annotated[list[str], typer.Argument(help="what raysearch.sweep wrote: a path or URI", metavar="RUN...")],
    out: Path | None = typer.Option(None, help="of several runs: the comparison's directory; else beside the first"),
    gallery: bool = typer.Option(False, "--gallery", help="draw gallery.html too: pictures of the trained networks"),
    images: int | None = typer.Option(None, min=1, help=f"pictures of each kind in the gallery; else {IMAGES}"),
    variant: list[str] = typer.Option([], help="a variant of the gallery; else all, at most 12, of a search the best"),
    seed: int | None = typer.Option(None, help="whose networks the gallery shows; else each variant's median one"),
    data: str | None = typer.Option(None, help="path or URI of the run's shards, where they have moved"),
    storage: str | None = typer.Option(None, help="path or URI of the checkpoints, where the run was given one"),
    live: bool = typer.Option(False, "--live", help="serve a page on this machine that follows RUN"),
    port: int | None = typer.Option(None, min=0, max=65535, help="of the live page; else a free one"),
    no_open: bool = typer.Option(False, "--no-open", help="open no browser with the live page"),
) -> None:
    """Write report.html, tables/ and results.parquet of RUN from its cells, whether it ended or not; or follow RUN.

    Of several runs write comparison.html and tables/: the same variants side by side, the later runs against the first.
    Runs whose metric, data or protocol differ are refused.
    """
    pictures = {"--images": images, "--variant": variant or None, "--seed": seed, "--data": data, "--storage": storage}
    _only_with(gallery, "--gallery", pictures)
    _only_with(live, "--live", {"--port": port, "--no-open": no_open or None})
    _only_with(len(runs) > 1, "several runs", {"--out": out})
    _only_with(len(runs) == 1, "one run", {"--gallery": gallery or None, "--live": live or None})
    homes = [RunLocation(run) for run in runs]
    for home in homes:
        home.fetch()
    if len(homes) > 1:
        directories = [home.directory for home in homes]
        _compare(directories, out or dashboards.comparison.page.default_directory(directories))
    elif live:
        from dashboards.live import server

        with homes[0].watched():
            server.serve(homes[0].directory, port or 0, not no_open, cli.console())
    else:
        if gallery:
            from dashboards.gallery.build import write_gallery  # looks with torch, which a report needs not

            write_gallery(homes[0].directory, images or IMAGES, variant, seed, data, storage)
        _draw(homes[0].directory, gallery)


def _only_with(asked: bool, mode: str, given: Mapping[str, object]) -> None:
    wrong = [flag for flag, value in given.items() if value is not None]
    if wrong and not asked:
        raise UserError(f"{wrong[0]} is for {mode}")


def _draw(run: Path, gallery: bool) -> None:
    study, table = results.read_study(run), results.save_table(run)
    path = dashboards.report.write(run, table)
    pages = [run / "gallery.html"] * gallery + [path]
    _print(dashboards.report.terminal(study, table), dashboards.report.answer(study, table), pages)


def _compare(runs: list[Path], out: Path) -> None:
    shown = dashboards.comparison.page.read_comparison(runs)
    path = dashboards.comparison.page.write_comparison(shown, out)
    _print(
        dashboards.comparison.tables.terminal_table(shown), dashboards.comparison.page.answer_sentence(shown), [path]
    )


def _print(table: object, answer: str, pages: list[Path]) -> None:
    console = cli.console()
    console.print(table)
    console.print(answer, markup=False, highlight=False)
    for page in pages:
        console.print(sanitize.escape_controls(str(page)), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    cli.run(app)
