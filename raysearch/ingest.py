"""Images on disk -> Parquet shards.

    python -m raysearch.ingest folder photos/ shards/      photos/<class>/*.jpg, photos/train/<class>/*, or a split.csv
    python -m raysearch.ingest fewshot CUB/ shards/        split/{train,val,test}.csv, or a folder for each part
    python -m raysearch.ingest synthetic - shards/         the embedded data set, drawn
    python -m raysearch.ingest synthetic classes=5,side=32 shards/

Every image is decoded once; those that cannot be are left out and listed, or stop everything with --on-corrupt fail.
OUT appears at once when all is done; whatever goes wrong before, nothing is left there.
"""

import signal
import sys
from enum import StrEnum
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from raysearch import cli
from raysearch.data import layouts, shards

SHOWN = 20  # corrupt images listed on screen; all of them are in the manifest

app = typer.Typer(add_completion=False)


class OnCorrupt(StrEnum):
    skip = "skip"
    fail = "fail"


@app.command()
def ingest(
    layout: str = typer.Argument(
        metavar="LAYOUT",
        help="folder: class folders or a split.csv; fewshot: lists or folders of train, val and test classes; "
        "synthetic: the embedded data set",
    ),
    src: str = typer.Argument(
        metavar="SRC", help="directory; for synthetic, - or settings such as classes=20,side=64,seed=0"
    ),
    out: Path = typer.Argument(metavar="OUT", help="directory to make"),
    name: str | None = typer.Option(None, help="name of the data set in reports; else OUT's name"),
    on_corrupt: OnCorrupt = typer.Option(OnCorrupt.skip, help="an image that does not decode: leave it out, or stop"),
    rows_per_shard: int = typer.Option(512, help="images in a Parquet file"),
    test_fraction: float | None = typer.Option(None, help="test part of plain class folders; else 0.5"),
    verify: bool = typer.Option(False, "--verify", help="read OUT again when it is written and check every byte"),
) -> None:
    """Write the images of SRC as Parquet shards into OUT."""
    # a cluster ends jobs with SIGTERM: leave as on Ctrl-C, so that nothing half-written stays
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    samples = layouts.find(layout)(src, test_fraction)
    screen = Console(stderr=True)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("images", total=len(samples))
        manifest = shards.write(
            samples,
            out,
            name=name or out.resolve().name,
            layout=layout,
            rows_per_shard=rows_per_shard,
            on_corrupt=on_corrupt.value,
            progress=lambda number: bar.advance(task, number),
        )
    if verify:
        shards.verify(out)
    _summary(manifest, out, verify)


def _summary(manifest: shards.Manifest, out: Path, verified: bool) -> None:
    screen = Console(width=None if sys.stdout.isatty() else 120, soft_wrap=True)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    megabytes = sum(shard.bytes for shard in manifest.shards) / 1e6
    splits = ", ".join(f"{split} {sum(numbers):,}" for split, numbers in manifest.counts.items())
    (narrow, wide), (low, high) = manifest.width, manifest.height
    side = f"{narrow}x{low}" if (narrow, low) == (wide, high) else f"{narrow}x{low} to {wide}x{high}"
    rows = {
        "images": f"{manifest.images:,} ({splits})",
        "classes": f"{len(manifest.classes):,}",
        "pixels": side,
        "corrupt": f"{len(manifest.corrupt):,}" + (" left out" if manifest.corrupt else ""),
        "size": f"{megabytes:,.1f} MB in {len(manifest.shards):,} shards" + (", verified" if verified else ""),
        "hash": manifest.content_hash[:16],
        "where": escape(str(out)),
    }
    for key, value in rows.items():
        table.add_row(key, value)
    for bad in manifest.corrupt[:SHOWN]:
        screen.print(f"corrupt: {escape(bad.source)}: {escape(bad.reason)}", style="yellow", highlight=False)
    if len(manifest.corrupt) > SHOWN:
        screen.print(f"... and {len(manifest.corrupt) - SHOWN:,} more, listed in {escape(str(out / shards.MANIFEST))}")
    screen.print(table)


if __name__ == "__main__":
    cli.run(app)
