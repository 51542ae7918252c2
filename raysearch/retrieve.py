"""Index images with a trained model, and find the indexed images that are most similar to others.

    python -m raysearch.train retrieval --export model.pt                train a model
    python -m raysearch.retrieve index model.pt photos/ photos.index     index all images below photos/, or of shards
    python -m raysearch.retrieve query model.pt photos.index one.jpg     print the nearest images and their distances

From Python:

    hasher = Hasher.load("model.pt")
    index = build(hasher, "photos/")
    index.query("one.jpg", k=5)                                          [Match(distance=0, path=..., label=...), ...]

Images at equal distance keep the order of the index: by path for a folder, by class and source for shards.
"""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from raysearch.core import UserError, cli
from raysearch.data import image_sources
from raysearch.data.shards import Corrupt
from raysearch.inference.hasher import Hasher
from raysearch.inference.index import About, Index, Match, read_about
from raysearch.ingest import OnCorrupt
from raysearch.models.hashing.packed import pack
from raysearch.storage import Location, LocationLike

__all__ = ["Hasher", "Index", "Match", "build"]

SHOWN = 5  # images that were left out and are listed on screen; the index lists them all

app = typer.Typer(add_completion=False, no_args_is_help=False)
MODEL = typer.Argument(metavar="MODEL", help="file that raysearch.train --export wrote")


class EngineName(StrEnum):
    numpy = "numpy"
    faiss = "faiss"


def build(
    hasher: Hasher,
    folder: LocationLike,
    *,
    on_corrupt: Literal["skip", "fail"] = "skip",
    progress: Callable[[int, int], None] | None = None,
) -> Index:
    """Encode the images of a folder, or of a directory of shards.

    Args:
        hasher: the model.
        folder: a path or a URI, see `raysearch.data.image_sources`.
        on_corrupt: "skip" leaves out an image that does not decode and lists it in the index; "fail" stops.
        progress: called with the number of images done and the number of all.

    Raises:
        UserError: there is no image, none decodes, or one does not decode and on_corrupt is "fail".
    """
    place = Location.parse(folder)
    found = image_sources.find_images(place)
    done = 0
    words: list[np.ndarray] = []
    paths: list[str] = []
    labels: list[str | None] = []
    corrupt: list[Corrupt] = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # decoders release the GIL
        while batch := list(itertools.islice(found.images, hasher.batch)):
            pixels = []
            for photo, read in zip(batch, threads.map(hasher.preprocessing.read, batch), strict=True):
                if isinstance(read, Corrupt):
                    if on_corrupt == "fail":
                        raise UserError(f"{read.source} is corrupt: {read.reason}")
                    corrupt.append(read)
                    continue
                pixels.append(read)
                paths.append(photo.path)
                labels.append(photo.label)
            if pixels:
                words.append(pack(hasher.encode(np.stack(pixels))))
            done += len(batch)
            if progress:
                progress(done, found.total)
    if not words:
        first = f"{corrupt[0].source}: {corrupt[0].reason}"
        raise UserError(f"{place}: none of {_count(found.total, 'image')} can be read; the first is {first}")
    root = place.local.resolve() if place.local is not None else place
    about = About(model=hasher.sha256, bits=hasher.bits, root=str(root), corrupt=tuple(corrupt), others=found.others)
    return Index(np.concatenate(words), paths, labels, about, hasher)


@app.command("index")
def index_command(
    model: Path = MODEL,
    folder: str = typer.Argument(
        metavar="FOLDER", help="folder of images, with or without sub-folders; or shards, a path or URI (s3://...)"
    ),
    out: Path = typer.Argument(metavar="OUT", help="file to write; an existing index is replaced"),
    on_corrupt: OnCorrupt = typer.Option(OnCorrupt.skip, help="an image that does not decode: skip it, or stop"),
) -> None:
    """Encode the images of FOLDER into OUT."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as on Ctrl-C
    cli.check_writable(out, "OUT")
    _check_replaceable(out)
    hasher = Hasher.load(model)
    screen = Console(stderr=True)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("images", total=None)
        index = build(
            hasher,
            folder,
            on_corrupt=on_corrupt.value,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    index.save(out)
    _print_summary(index, out)


def _check_replaceable(out: Path) -> None:
    """Refuse to overwrite a file that is not an index: swapped arguments must not destroy a model.

    Raises:
        UserError: OUT exists and is not an index.
    """
    if out.exists():
        try:
            read_about(out)
        except UserError:
            raise UserError(f"{out} exists and is not an index; remove it or choose another OUT") from None


def _print_summary(index: Index, out: Path) -> None:
    console = cli.console()
    corrupt = index.about.corrupt
    for image in corrupt[:SHOWN]:
        console.print(f"left out: {escape(image.source)}: {escape(image.reason)}", style="yellow")
    if len(corrupt) > SHOWN:
        console.print(f"... and {len(corrupt) - SHOWN:,} more", style="yellow")
    labels = len(set(index.labels) - {None})
    facts = [_count(len(index), "image") + (f" with {_count(labels, 'label')}" if labels else "")]
    facts += [f"{index.about.bits} bits"]
    facts += [f"{len(corrupt):,} left out"] if corrupt else []
    facts += [_count(index.about.others, "other file") + " ignored"] if index.about.others else []
    console.print(f"{', '.join(facts)}: {escape(str(out))}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@app.command("query")
def query_command(
    model: Path = MODEL,
    index: Path = typer.Argument(metavar="INDEX", help="file that raysearch.retrieve index wrote"),
    images: list[Path] = typer.Argument(metavar="IMAGE...", help="images to search for"),
    k: int = typer.Option(10, "--k", "-k", help="number of neighbors to print per image"),
    as_json: bool = typer.Option(False, "--json", help="print JSON"),
    engine: EngineName | None = typer.Option(None, help="search engine; default: chosen by the number of images"),
) -> None:
    """Print the indexed images that are nearest to each IMAGE."""
    hasher = Hasher.load(model)
    known = Index.load(index, hasher, engine.value if engine else None)
    distances, rows = known.search(hasher.encode(images), k)
    if k > len(known):
        print(f"the index holds {len(known):,} images, fewer than {k:,}; all are printed", file=sys.stderr)
    results = {
        str(image): known.matches(image_distances, image_rows)
        for image, image_distances, image_rows in zip(images, distances, rows, strict=True)
    }
    if as_json:
        print(json.dumps([_plain(image, matches) for image, matches in results.items()], indent=1, ensure_ascii=False))
        return
    console = cli.console()
    for image, matches in results.items():
        console.print(_table(image, matches, known.about.bits))


def _plain(image: str, matches: list[Match]) -> dict[str, object]:
    return {"image": image, "matches": [match._asdict() for match in matches]}


def _table(image: str, matches: list[Match], bits: int) -> Table:
    table = Table("bits", "label", "path", box=None, padding=(0, 2, 0, 0), title=escape(image), title_justify="left")
    table.caption = f"Hamming distances of {bits} bits"
    for match in matches:
        table.add_row(str(match.distance), escape(match.label or ""), escape(match.path))
    return table


if __name__ == "__main__":
    cli.run(app)
