"""Draw a run's report and tables again, and a gallery of what its trained networks do with images.

python -m raysearch.report runs/srem_ablation                              report.html and tables/
python -m raysearch.report runs/srem_ablation --gallery                    gallery.html too, from the checkpoints
python -m raysearch.report runs/srem_ablation --gallery --variant srem.regions=0 --images 12
"""

from pathlib import Path
from typing import Annotated

import typer

import dashboards.report
import dashboards.tables
from raysearch import cli
from raysearch.errors import UserError
from raysearch.studies import results

IMAGES = 6

app = typer.Typer(add_completion=False)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="a directory that raysearch.sweep wrote", metavar="RUN")],
    gallery: bool = typer.Option(False, "--gallery", help="draw gallery.html too: pictures of the trained networks"),
    images: int | None = typer.Option(None, min=1, help=f"pictures of each kind in the gallery; else {IMAGES}"),
    variant: list[str] = typer.Option([], help="a variant of the gallery; else all, at most 12, of a search the best"),
    seed: int | None = typer.Option(None, help="whose networks the gallery shows; else each variant's median one"),
    data: str | None = typer.Option(None, help="path or URI of the run's shards, where they have moved"),
    storage: str | None = typer.Option(None, help="path or URI of the checkpoints, where the run was given one"),
) -> None:
    """Write report.html, tables/ and results.parquet of RUN from its cells, whether it ended or not."""
    asked = {"--images": images, "--variant": variant or None, "--seed": seed, "--data": data, "--storage": storage}
    study, table = results.read_study(run), results.save_table(run)
    if gallery:
        from raysearch.gallery import write  # looks with torch, which a report needs not

        write(run, images or IMAGES, variant, seed, data, storage)
    elif given := [flag for flag, value in asked.items() if value is not None]:
        raise UserError(f"{given[0]} is of the gallery: add --gallery")
    path = dashboards.report.write(run, table)
    console = cli.console()
    console.print(dashboards.tables.terminal(study, table))
    console.print(dashboards.report.answer(study, table), markup=False, highlight=False)
    if gallery:
        console.print(str(run / "gallery.html"), markup=False, highlight=False, soft_wrap=True)
    console.print(str(path), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    cli.run(app)
