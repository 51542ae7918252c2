"""Images on disk -> Parquet shards.

    python -m raysearch.ingest auto SRC shards/            says what it takes SRC for, and why
    python -m raysearch.ingest folder photos/ shards/      photos/<class>/*.jpg, photos/train/<class>/*, or a split.csv
    python -m raysearch.ingest fewshot CUB/ shards/        split/{train,val,test}.csv, or a folder for each part
    python -m raysearch.ingest cub CUB_200_2011/ shards/   an official release; also aircraft, nabirds, vegfru, ...
    python -m raysearch.ingest cars cars/ shards/ --boxes --side 84 --val 0.1
    python -m raysearch.ingest synthetic - shards/         the embedded data set, drawn
    python -m raysearch.ingest verify shards/              read every byte of a data set again

Before anything is written, the numbers of images and classes are held against the published ones. Every image is
decoded once; those that cannot be, and those that lists and files disagree on, are left out and named, or stop
everything with --on-corrupt fail. OUT appears at once when all is done. What is interrupted or killed before goes on,
with the same command, from the shards that are finished. OUT may lie in a store, as s3://bucket/folder: its shards are
made on this machine, in RAYSEARCH_CACHE, then uploaded, and are a data set with the manifest, which comes last.
"""

import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from raysearch.core import cli
from raysearch.core.errors import UserError
from raysearch.data import layouts, shards
from raysearch.data.layouts import AUTO
from raysearch.data.shards import reshape_samples
from raysearch.storage import Location

SHOWN = 20  # corrupt images listed on screen; all of them are in the manifest

# What threads do under the GIL, some 0.1 ms an image, is what Ray's processes can save: for so many images 5 s, and Ray
# hardly starts and stops in less.
ENOUGH_FOR_RAY = 50_000

app = typer.Typer(add_completion=False)
checking = typer.Typer(add_completion=False)


class OnCorrupt(StrEnum):
    skip = "skip"
    fail = "fail"


@app.command(epilog="python -m raysearch.ingest verify DIR: read every byte of a data set again.")
def ingest(
    layout: str = typer.Argument(
        metavar="LAYOUT",
        help="auto: whichever lies at SRC; "
        + "; ".join(f"{name}: {one.about}" for name, one in layouts.LAYOUTS.items()),
    ),
    src: str = typer.Argument(
        metavar="SRC", help="directory; for synthetic, - or settings such as classes=20,side=64,seed=0"
    ),
    out: str = typer.Argument(metavar="OUT", help="directory to make: a path, or a URI as s3://bucket/folder"),
    name: str | None = typer.Option(None, help="name of the data set in reports; else OUT's name"),
    on_corrupt: OnCorrupt = typer.Option(OnCorrupt.skip, help="an image that does not decode: leave it out, or stop"),
    rows_per_shard: int = typer.Option(512, help="images in a Parquet file"),
    test_fraction: float | None = typer.Option(None, help="test part of a data set without parts; else 0.5"),
    val: float | None = typer.Option(
        None, metavar="SHARE", help="hold out this share of each class's train images, by a hash of their paths"
    ),
    boxes: bool = typer.Option(False, "--boxes", help="crop to the data set's bounding boxes, without padding"),
    side: int | None = typer.Option(
        None, metavar="N", help="resize to N x N now, as JPEG of quality 95; else files stay as they are"
    ),
    strict_counts: bool = typer.Option(False, "--strict-counts", help="other counts than the published ones stop"),
    verify: bool = typer.Option(False, "--verify", help="read OUT again when it is written and check every byte"),
    workers: str = typer.Option(
        AUTO,
        metavar="N|auto",
        help="processes on Ray that decode; auto: one a CPU, or threads of this process alone where there are fewer "
        f"than {ENOUGH_FOR_RAY:,} images",
    ),
    address: str | None = typer.Option(
        None, help="of a Ray cluster, whose nodes have to see SRC and OUT at the same paths; auto takes all its CPUs"
    ),
) -> None:
    """Write the images of SRC as Parquet shards into OUT."""
    _leave_on_sigterm()
    wanted, target = _number(workers), Location.parse(out)
    layout_name, chosen, why = layouts.find(layout, src)
    if why:
        _screen().print(f"auto: {layout_name}, by {escape(why)}", highlight=False)
    if side is not None and side < 1:
        raise UserError(f"--side must be 1 pixel or more, not {side}")
    if val is not None and chosen.disjoint:
        raise UserError(f"--val holds out images of every class, and in {layout_name} a class is in one part")
    listing = chosen.read(src, test_fraction)
    _compare(layout_name, chosen, listing, strict_counts)
    samples, steps = list(listing), []
    if val is not None:
        samples = shards.hold_out_validation(samples, val)
        steps.append(f"val {val:g}")
    if boxes or side is not None:
        samples = reshape_samples(samples, _boxes(layout_name, chosen, src) if boxes else None, side)
        steps += ["boxes"] * boxes + ([] if side is None else [f"side {side}"])
    with _maker(wanted, address, len(samples), target) as executor, _bar(len(samples)) as progress:
        manifest = shards.write_shards(
            samples,
            target,
            name=name or (target.name if target.local is None else target.local.resolve().name),
            layout=layout_name,
            classes=listing.classes,
            rows_per_shard=rows_per_shard,
            on_corrupt=on_corrupt.value,
            corrupt=listing.corrupt,
            steps=steps,
            progress=progress,
            executor=executor,
            report=lambda line: _screen().print(line, highlight=False),
        )
    if verify:
        shards.verify_shards(target)
    _summary(manifest, target, verify)


@checking.command()
def check(
    directory: str = typer.Argument(metavar="DIR", help="of shards: a path, or a URI as s3://bucket/folder"),
    decode: bool = typer.Option(True, help="also decode each image"),
) -> None:
    """Read every byte of a data set again; the shard and the row of what is damaged are named, with exit code 2."""
    place = Location.parse(directory)
    with _bar(shards.read_manifest(place).images) as progress:
        manifest = shards.verify_shards(place, decode, progress)
    rows, files = f"{manifest.images:,} rows", f"{len(manifest.shards):,} shards"
    _screen().print(f"{place} is whole: {rows} in {files}, hash {manifest.content_hash}", highlight=False)


def main(words: list[str]) -> NoReturn:
    """The command line without the program's name."""
    if words[:1] == ["verify"]:
        cli.run(checking, words[1:], name="python -m raysearch.ingest verify")
    cli.run(app, words)


def _number(workers: str) -> int | None:
    """What --workers says; None for auto."""
    if workers == AUTO:
        return None
    if not workers.isdecimal() or int(workers) < 1:
        raise UserError(f"--workers is a number of 1 or more, or {AUTO}, not {workers!r}")
    return int(workers)


@contextlib.contextmanager
def _maker(workers: int | None, address: str | None, images: int, out: Location) -> Iterator[shards.ShardExecutor]:
    """Ray, started or joined where it is wanted or pays, else threads.

    What goes to a store is made in this machine's cache, which other nodes do not see.
    """
    elsewhere = address or os.environ.get("RAY_ADDRESS")
    if elsewhere and out.local is None:
        if address:
            raise UserError(f"--address: shards for {out} are made on this machine alone; leave --address out")
        _screen().print(f"shards for {escape(str(out))} are made on this machine alone, by threads", highlight=False)
        yield shards.ThreadExecutor(workers)
        return
    pays = images >= ENOUGH_FOR_RAY and (os.cpu_count() or 1) > 1
    if importlib.util.find_spec("ray") is None:
        if address:
            raise UserError("--address: Ray is not installed here; pip install ray")
        yield shards.ThreadExecutor(workers)
    elif elsewhere or (pays if workers is None else workers > 1):
        from raysearch.engine.cluster import connection

        with connection.connected(address):
            _leave_on_sigterm()  # Ray has put its own way in
            yield shards.RayExecutor(workers)
    else:
        yield shards.ThreadExecutor(workers)


def _leave_on_sigterm() -> None:
    """A cluster ends jobs with SIGTERM: leave as on Ctrl-C, so that finished shards are known and others gone."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextlib.contextmanager
def _bar(images: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, moved on by calls with the number of images just done."""
    screen = Console(stderr=True)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("images", total=images)
        yield lambda number: bar.advance(task, number)


def _compare(name: str, layout: layouts.Layout, listing: layouts.Listing, strict: bool) -> None:
    """Say where the numbers are not the published ones; UserError where that is to stop."""
    if layout.counts is None:
        if strict:
            raise UserError(f"--strict-counts has no effect here: the layout {name} has no published counts")
        return
    differences = layout.counts.differences(listing)
    if strict and differences:
        raise UserError(f"{'; '.join(differences)}; leave out --strict-counts to go on")
    for line in differences:
        _screen().print(f"counts: {line}", style="yellow", highlight=False)


def _boxes(name: str, layout: layouts.Layout, src: str) -> Mapping[str, shards.Box]:
    if layout.boxes is None:
        having = ", ".join(other for other, one in layouts.LAYOUTS.items() if one.boxes)
        raise UserError(f"--boxes: the layout {name} has no bounding boxes; {having} have")
    return layout.boxes(src)


def _screen() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120, soft_wrap=True)


def _summary(manifest: shards.Manifest, out: Location, verified: bool) -> None:
    screen = _screen()
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
    main(sys.argv[1:])
