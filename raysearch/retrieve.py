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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from raysearch.core import UserError, cli, count_cpus
from raysearch.data import image_sources, reading_account, shards
from raysearch.inference.hasher import Hasher
from raysearch.inference.index import About, Index, Match, read_about
from raysearch.ingest import OnCorrupt
from raysearch.models.hashing.packed import pack
from raysearch.storage import Location, LocationLike

__all__ = ["Hasher", "Index", "Match", "build"]

SHOWN = 5  # images that were left out and are listed on screen; the index lists them all

app = typer.Typer(add_completion=False, no_args_is_help=False)
MODEL = typer.Argument(metavar="MODEL", help="file that raysearch.train --export wrote")
STRICT = typer.Option(False, "--strict", help="stop if anything in a folder is left out for any reason")
FOLLOW_LINKS = typer.Option(False, "--follow-links", help="also read links that lead out of a folder")


class EngineName(StrEnum):
    numpy = "numpy"
    faiss = "faiss"


def build(
    hasher: Hasher,
    folder: LocationLike,
    *,
    on_corrupt: Literal["skip", "fail"] = "skip",
    strict: bool = False,
    follow_links: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Index:
    """Encode the images of a folder, or of a directory of shards.

    Args:
        hasher: the model.
        folder: a path or a URI, see `raysearch.data.image_sources`.
        on_corrupt: "skip" leaves out an image that does not decode and lists it in the index; "fail" stops.
        strict: whether anything in the folder that is left out, for whatever reason, is an error.
        follow_links: also read links that lead out of the folder.
        progress: called with the number of images done and the number of all.

    Raises:
        UserError: there is no image, none decodes, or one does not decode and on_corrupt is "fail"; with `strict`,
            anything is left out.
    """
    place = Location.parse(folder)
    source = image_sources.find_images(place, follow_links)
    if strict:
        source.account.refuse(str(place))
    done = 0
    words: list[np.ndarray] = []
    paths: list[str] = []
    labels: list[str | None] = []
    corrupt: list[shards.Corrupt] = []
    with ThreadPoolExecutor(count_cpus()) as threads:  # decoders release the GIL
        while batch := list(itertools.islice(source.images, hasher.batch)):
            pixels = []
            for photo, read in zip(batch, threads.map(hasher.preprocessing.read, batch), strict=True):
                if isinstance(read, shards.Corrupt):
                    _refuse_corrupt(read, place, on_corrupt)
                    corrupt.append(read)
                    continue
                pixels.append(read)
                paths.append(photo.path)
                labels.append(photo.label)
            if pixels:
                words.append(pack(hasher.encode(np.stack(pixels))))
            done += len(batch)
            if progress:
                progress(done, source.total)
    if not words:
        first = f"{corrupt[0].source}: {corrupt[0].reason}"
        raise UserError(
            f"{place}: none of {reading_account.count(source.total, 'image')} can be read; the first is {first}"
        )
    account = source.account.complete(len(paths), corrupt)
    if strict:
        account.refuse(str(place))
    about = About(
        model=hasher.sha256,
        bits=hasher.bits,
        root=str(place.local.resolve() if place.local is not None else place),
        images=shards.IMAGES_VERSION,
        corrupt=tuple(corrupt),
        others=source.others,
        account=account,
    )
    return Index(np.concatenate(words), paths, labels, about, hasher)


def _refuse_corrupt(image: shards.Corrupt, place: object, on_corrupt: str) -> None:
    if on_corrupt == "fail":
        raise UserError(f"{image.source} is corrupt: {image.reason} (in {place})")


@app.command("index", epilog=cli.examples("raysearch retrieve index model.pt photos/ photos.index"))
def index_command(
    model: Path = MODEL,
    folder: str = typer.Argument(
        metavar="FOLDER", help="folder of images, with or without sub-folders; or shards, a path or URI (s3://...)"
    ),
    out: Path = typer.Argument(metavar="OUT", help="file to write; an existing index is replaced"),
    on_corrupt: OnCorrupt = typer.Option(OnCorrupt.skip, help="an image that does not decode: skip it, or stop"),
    strict: bool = STRICT,
    follow_links: bool = FOLLOW_LINKS,
) -> None:
    """Encode the images of FOLDER into OUT."""
    cli.check_writable(out, "OUT")
    _check_replaceable(out)
    hasher = Hasher.load(model)
    screen = cli.console(stderr=True)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("images", total=None)
        index = build(
            hasher,
            folder,
            on_corrupt=on_corrupt.value,
            strict=strict,
            follow_links=follow_links,
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
        console.print(f"left out: {image.source}: {image.reason}", style="yellow")
    if len(corrupt) > SHOWN:
        console.print(f"... and {len(corrupt) - SHOWN:,} more", style="yellow")
    if index.about.account is not None:
        console.print(index.about.account.table())
    labels = len(set(index.labels) - {None})
    facts = [
        reading_account.count(len(index), "image")
        + (f" with {reading_account.count(labels, 'label')}" if labels else "")
    ]
    facts += [f"{index.about.bits} bits"]
    facts += [f"{len(corrupt):,} left out"] if corrupt else []
    facts += [reading_account.count(index.about.others, "other file") + " ignored"] if index.about.others else []
    console.print(f"{', '.join(facts)}: {out}")


@app.command("query", epilog=cli.examples("raysearch retrieve query model.pt photos.index bird.jpg -k 5"))
def query_command(
    model: Path = MODEL,
    index: Path = typer.Argument(metavar="INDEX", help="file that raysearch.retrieve index wrote"),
    images: list[Path] = typer.Argument(metavar="IMAGE...", help="images to search for, or folders of them"),
    k: int = typer.Option(10, "--k", "-k", help="number of neighbors to print per image"),
    as_json: bool = typer.Option(False, "--json", help="print JSON"),
    engine: EngineName | None = typer.Option(None, help="search engine; default: chosen by the number of images"),
    on_corrupt: OnCorrupt = typer.Option(OnCorrupt.skip, help="an image of a folder that does not decode: skip, fail"),
    strict: bool = STRICT,
    follow_links: bool = FOLLOW_LINKS,
) -> None:
    """Print the indexed images that are nearest to each IMAGE."""
    hasher = Hasher.load(model)
    known = Index.load(index, hasher, engine.value if engine else None)
    if known.about.images != shards.IMAGES_VERSION:
        cli.warn(f"{index}: an earlier raysearch left photographs on their side; index them again")
    queries = _read_queries(hasher, images, on_corrupt, follow_links)
    for folder, account in queries.accounts.items():
        if strict:
            account.refuse(folder)
        if account.left_out:
            cli.console(stderr=True).print(account.table())
    distances, rows = known.search(queries.codes, k)
    if k > len(known):
        cli.warn(f"the index holds {len(known):,} images, fewer than {k:,}; all are printed")
    results = {
        image: known.matches(image_distances, image_rows)
        for image, image_distances, image_rows in zip(queries.names, distances, rows, strict=True)
    }
    if as_json:
        cli.print_json([_plain(image, known.about.root, matches) for image, matches in results.items()])
        return
    console = cli.console()
    for image, matches in results.items():
        console.print(_table(image, matches, known.about.bits))


class Queries(NamedTuple):
    """Images to search for."""

    names: list[str]
    codes: np.ndarray  # (n, c) in {-1, +1}
    accounts: dict[str, reading_account.ReadingAccount]  # folder -> what was read of it


def _read_queries(hasher: Hasher, places: Sequence[Path], on_corrupt: OnCorrupt, follow_links: bool) -> Queries:
    """Encode images and the images of folders, each only once."""
    names: list[str] = []
    codes: list[np.ndarray] = []
    pixels: list[np.ndarray] = []
    accounts: dict[str, reading_account.ReadingAccount] = {}

    def _add(name: str, image: np.ndarray | None) -> None:
        if image is not None:
            names.append(name)
            pixels.append(image)
        if pixels and (image is None or len(pixels) == hasher.batch):
            codes.append(hasher.encode(np.stack(pixels)).cpu().numpy())
            pixels.clear()

    for place in dict.fromkeys(places):
        if not place.is_dir():
            _add(str(place), hasher.pixels(place))
            continue
        source = image_sources.find_images(place, follow_links)
        corrupt: list[shards.Corrupt] = []
        for photo in source.images:
            read = hasher.preprocessing.read(photo)
            if isinstance(read, shards.Corrupt):
                _refuse_corrupt(read, place, on_corrupt.value)
                corrupt.append(read)
            else:
                _add(str(place / photo.path), read)
        accounts[str(place)] = source.account.complete(source.total - len(corrupt), corrupt)
    _add("", None)
    if not names:
        folder, account = next(iter(accounts.items()))
        raise UserError(f"{folder}: no image can be read: {account.describe()}")
    return Queries(names, np.concatenate(codes), accounts)


def _plain(image: str, root: str, matches: list[Match]) -> dict[str, object]:
    return {"image": image, "root": root, "matches": [match._asdict() for match in matches]}


def _table(image: str, matches: list[Match], bits: int) -> cli.TerminalTable:
    rows = [(str(match.distance), match.label or "", match.path) for match in matches]
    note = f"Hamming distances of {bits} bits"
    return cli.table_of_rows(("bits", "label", "path"), rows, names=("label", "path"), title=image, note=note)


if __name__ == "__main__":
    cli.run(app)
