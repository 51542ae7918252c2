"""Turn a folder or a public data set into Parquet shards.

    python -m raysearch.ingest auto SRC shards/            finds the layout of SRC, and prints the reason
    python -m raysearch.ingest folder photos/ shards/      photos/<class>/*.jpg, photos/train/<class>/*, or a split.csv
    python -m raysearch.ingest fewshot CUB/ shards/        split/{train,val,test}.csv, or a folder for each part
    python -m raysearch.ingest cub CUB_200_2011/ shards/   an official release; also aircraft, nabirds, vegfru, ...
    python -m raysearch.ingest cars cars/ shards/ --boxes --side 84 --val 0.1
    python -m raysearch.ingest synthetic - shards/         the embedded data set, drawn
    python -m raysearch.ingest verify shards/              read every byte of a data set again

Before anything is written, the numbers of images and classes are compared with the published ones. Every image is
decoded once. Images that do not decode, and those on which lists and files disagree, are left out and named; with
--on-corrupt fail they stop the ingest. A table accounts for everything in SRC: what was read, and what was left out and
why. With --strict anything that was left out is an error. OUT appears at once when everything is done. After an
interruption or a kill, the same command continues from the finished shards. OUT may be in a store, such as
s3://bucket/folder. Its shards are built on this machine, in RAYSEARCH_CACHE, and uploaded; the manifest, which makes
them a data set, comes last.
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import NoReturn

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from raysearch.core import UserError, cli, count_cpus
from raysearch.data import layouts, shards
from raysearch.storage import Location

LISTED_ON_SCREEN = 20  # corrupt images; the manifest lists all of them

# Threads lose some 0.1 ms per image to the GIL, which Ray's processes save. For this many images that is 5 s, and Ray
# takes about as long to start and stop.
ENOUGH_FOR_RAY = 50_000

# Names of OUT that say nothing about the images.
_UNSPECIFIC = {"shards", "shard", "data", "dataset", "out", "output"}

app = typer.Typer(add_completion=False)
checking = typer.Typer(add_completion=False)


class OnCorrupt(StrEnum):
    """What happens to an image that does not decode."""

    skip = "skip"
    fail = "fail"


@app.command(
    epilog=cli.examples(
        "raysearch ingest auto photos/ shards/",
        "raysearch ingest folder photos/ small/ --side 84 --val 0.1",
        "raysearch ingest verify shards/",
    )
)
def ingest(
    layout: str = typer.Argument(
        metavar="LAYOUT",
        help="auto: found by the files in SRC; "
        + "; ".join(f"{builtin.name}: {builtin.about}" for builtin in layouts.BUILT_IN),
    ),
    src: str = typer.Argument(
        metavar="SRC", help="directory; for synthetic, - or settings such as classes=20,side=64,seed=0"
    ),
    out: str = typer.Argument(metavar="OUT", help="directory to create: a path, or a URI such as s3://bucket/folder"),
    name: str | None = typer.Option(
        None, help="name of the data set in reports  [default: OUT's name; SRC's if OUT is 'shards' or alike]"
    ),
    on_corrupt: OnCorrupt = typer.Option(OnCorrupt.skip, help="leave out an image that does not decode, or stop"),
    rows_per_shard: int = typer.Option(512, help="images per Parquet file"),
    test_fraction: float | None = typer.Option(
        None, help="share of each class for testing, of a data set without a split  [default: 0.5]"
    ),
    val: float | None = typer.Option(
        None, metavar="SHARE", help="hold out this share of each class's train images, by a hash of their paths"
    ),
    boxes: bool = typer.Option(False, "--boxes", help="crop to the data set's bounding boxes, without padding"),
    side: int | None = typer.Option(
        None,
        metavar="N",
        help="resize to N x N now, as JPEG of quality 95; at most "
        f"{shards.MAX_SIDE:,}  [default: keep the files as they are]",
    ),
    label_column: str | None = typer.Option(
        None, metavar="NAME", help="column of the labels, of Parquet files and lists whose own names do not tell"
    ),
    image_column: str | None = typer.Option(None, metavar="NAME", help="column of the images, of Parquet files"),
    no_parts: bool = typer.Option(
        False, "--no-parts", help="every folder in SRC is a class, also one named train, val or test"
    ),
    strict: bool = typer.Option(
        False, "--strict", help="stop, before OUT appears, if anything in SRC is left out for any reason"
    ),
    follow_links: bool = typer.Option(False, "--follow-links", help="also read links that lead out of SRC"),
    strict_counts: bool = typer.Option(
        False, "--strict-counts", help="stop if the numbers of images or classes differ from the published ones"
    ),
    verify: bool = typer.Option(False, "--verify", help="read OUT again when it is written, and check every byte"),
    workers: str = typer.Option(
        layouts.AUTO,
        metavar="N|auto",
        help="processes on Ray that decode; auto: one per CPU, or threads of this process if there are fewer than "
        f"{ENOUGH_FOR_RAY:,} images",
    ),
    address: str | None = typer.Option(
        None, help="of a Ray cluster whose nodes all see SRC and OUT at the same paths; auto takes all its CPUs"
    ),
) -> None:
    """Write the images of SRC as Parquet shards into OUT."""
    worker_count = _parse_workers(workers)
    target = Location.parse(out)
    chosen, reason = layouts.find_layout(layout, src)
    if reason:
        cli.console().print(f"auto: {chosen.name}, by {reason}")
    chosen = chosen.with_options(layouts.ReadOptions(label_column, image_column, no_parts))
    if side is not None:
        shards.check_side(side, "--side")
    if val is not None and chosen.disjoint:
        raise UserError(
            f"--val holds out images of every class, but in {chosen.name} each class is in one part; leave --val out"
        )
    listing, account = layouts.read_source(chosen, src, test_fraction, follow_links)
    for note in listing.notes:
        cli.console().print(note)
    _compare_counts(chosen, listing, strict_counts)
    samples = list(listing)
    steps: list[str] = []
    if val is not None:
        samples = shards.hold_out_validation(samples, val)
        steps.append(f"val {val:g}")
    if boxes or side is not None:
        samples = shards.reshape_samples(samples, _read_boxes(chosen, src) if boxes else None, side)
        steps += ["boxes"] * boxes + ([] if side is None else [f"side {side}"])
    with _executor(worker_count, address, len(samples), target) as executor, _progress_bar(len(samples)) as progress:
        manifest = shards.write_shards(
            samples,
            target,
            name=name or _default_name(src, target),
            layout=chosen.name,
            classes=listing.classes,
            rows_per_shard=rows_per_shard,
            on_corrupt=on_corrupt.value,
            corrupt=listing.corrupt,
            steps=steps,
            warnings=listing.warnings,
            account=account,
            strict=strict,
            progress=progress,
            executor=executor,
            report=lambda line: cli.console().print(line),
        )
    if name is not None and manifest.name != name:
        cli.console().print(f"renamed: {manifest.name} is now {name}")
        manifest = shards.rename_data_set(target, manifest, name)
    if manifest.account is None:  # OUT was written before there were accounts
        manifest = manifest.model_copy(update={"account": account.complete(manifest.images, manifest.corrupt)})
    if verify:
        shards.verify_shards(target)
    _print_summary(manifest, target, verify)


@checking.command(
    epilog=cli.examples(
        "raysearch ingest verify shards/",
    )
)
def check(
    directory: str = typer.Argument(metavar="DIR", help="of shards: a path, or a URI such as s3://bucket/folder"),
    decode: bool = typer.Option(True, help="also decode each image"),
) -> None:
    """Read every byte of a data set again. Damage is reported with its shard and row, and exit code 2."""
    location = Location.parse(directory)
    written = shards.read_manifest(location)
    with _progress_bar(written.images) as progress:
        manifest = shards.verify_shards(location, decode, progress)
    rows = f"{manifest.images:,} rows"
    files = f"{len(manifest.shards):,} shards"
    cli.console().print(f"{location} is whole: {rows} in {files}, hash {manifest.content_hash}")
    if written.duplicates is None and manifest.duplicates is not None:  # a data set of an earlier version
        for warning in manifest.duplicates.warnings():
            cli.console().print(f"warning: {warning}", style="yellow")


def main(words: list[str]) -> NoReturn:
    """Run the command line, given without the program's name."""
    if words[:1] == ["verify"]:
        cli.run(checking, words[1:], name="python -m raysearch.ingest verify")
    cli.run(app, words)


def _parse_workers(workers: str) -> int | None:
    """Return the number in --workers, or None for auto."""
    if workers == layouts.AUTO:
        return None
    if not workers.isdecimal() or int(workers) < 1:
        raise UserError(f"--workers is a number of 1 or more, or {layouts.AUTO}, not {workers!r}")
    return int(workers)


@contextlib.contextmanager
def _executor(workers: int | None, address: str | None, images: int, out: Location) -> Iterator[shards.ShardExecutor]:
    """Yield Ray, started or joined, if it is requested or pays off, else threads.

    Shards for a store are built in this machine's cache, which other nodes do not see.
    """
    cluster = address or os.environ.get("RAY_ADDRESS")
    if cluster and out.local is None:
        if address:
            raise UserError(f"--address: shards for {out} are built on this machine only; leave --address out")
        cli.console().print(f"shards for {out} are built on this machine only, by threads")
        yield shards.ThreadExecutor(workers)
        return
    pays_off = images >= ENOUGH_FOR_RAY and count_cpus() > 1
    if importlib.util.find_spec("ray") is None:
        if address:
            raise UserError("--address: Ray is not installed here; pip install ray")
        yield shards.ThreadExecutor(workers)
    elif cluster or (pays_off if workers is None else workers > 1):
        from raysearch.engine.cluster import connection

        with connection.connected(address):
            yield shards.RayExecutor(workers)
    else:
        yield shards.ThreadExecutor(workers)


@contextlib.contextmanager
def _progress_bar(images: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal; yield a function to call with the number of images just done."""
    screen = cli.console(stderr=True)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("images", total=images)
        yield lambda number: bar.advance(task, number)


def _default_name(src: str, target: Location) -> str:
    """Return the name of OUT, or of SRC where OUT's says nothing about the images.

    >>> pairs = ("a/birds/", "shards"), ("birds", "small"), ("-", "out")
    >>> [_default_name(src, Location.parse(out)) for src, out in pairs]
    ['birds', 'small', 'out']
    """
    name = target.name if target.local is None else target.local.resolve().name
    source = Path(src).resolve().name if Path(src).exists() else PurePosixPath(src.rstrip("/")).name
    known = source and source != "-" and "=" not in source
    return source if known and name.lower() in _UNSPECIFIC else name


def _compare_counts(layout: layouts.Layout, listing: layouts.Listing, strict: bool) -> None:
    """Print where the numbers differ from the published ones; with `strict`, raise a UserError there."""
    if layout.counts is None:
        if strict:
            raise UserError(f"--strict-counts has no effect here: the layout {layout.name} has no published counts")
        return
    differences = layout.counts.differences(listing)
    if strict and differences:
        raise UserError(f"{'; '.join(differences)}; leave out --strict-counts to go on")
    for line in differences:
        cli.console().print(f"counts: {line}", style="yellow")


def _read_boxes(layout: layouts.Layout, src: str) -> Mapping[str, shards.Box]:
    if layout.boxes is None:
        with_boxes = ", ".join(name for name in sorted(layouts.LAYOUTS) if layouts.LAYOUTS[name].boxes)
        raise UserError(f"--boxes: the layout {layout.name} has no bounding boxes; {with_boxes} have")
    return layout.boxes(src)


def _print_summary(manifest: shards.Manifest, out: Location, verified: bool) -> None:
    screen = cli.console()
    megabytes = sum(shard.bytes for shard in manifest.shards) / 1e6
    splits = ", ".join(f"{split} {sum(numbers):,}" for split, numbers in manifest.counts.items())
    narrowest, widest = manifest.width
    lowest, highest = manifest.height
    smallest = f"{narrowest}x{lowest}"
    largest = f"{widest}x{highest}"
    rows = {
        "images": f"{manifest.images:,} ({splits})",
        "classes": f"{len(manifest.classes):,}",
        "pixels": smallest if smallest == largest else f"{smallest} to {largest}",
        "corrupt": f"{len(manifest.corrupt):,}" + (" left out" if manifest.corrupt else ""),
        "size": f"{megabytes:,.1f} MB in {len(manifest.shards):,} shards" + (", verified" if verified else ""),
        "hash": manifest.content_hash[:16],
        "where": str(out),
    }
    for image in manifest.corrupt[:LISTED_ON_SCREEN]:
        screen.print(f"corrupt: {image.source}: {image.reason}", style="yellow")
    if len(manifest.corrupt) > LISTED_ON_SCREEN:
        hidden = len(manifest.corrupt) - LISTED_ON_SCREEN
        screen.print(f"... and {hidden:,} more, listed in {out / shards.MANIFEST}")
    if manifest.account is not None:
        screen.print(manifest.account.table())
    screen.print(cli.table_of_rows(("", "value"), rows.items(), names=("", "value"), header=False))
    duplicates = manifest.duplicates.warnings() if manifest.duplicates else []
    for limit in manifest.limits:
        screen.print(f"note: {limit}")
    for warning in (*manifest.warnings, *duplicates):
        screen.print(f"warning: {warning}", style="yellow")


if __name__ == "__main__":
    main(sys.argv[1:])
