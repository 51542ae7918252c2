"""Name images by a few examples of each class, with a trained few-shot model.

    python -m raysearch.train fewshot --export model.pt                  train a model
    python -m raysearch.classify model.pt support/ photos/               support/<class>/<images>; photos or shards
    python -m raysearch.classify model.pt support/ one.jpg --top 5
    python -m raysearch.classify model.pt support/ photos/ --out predictions.csv

From Python:

    recogniser = Recogniser.load("model.pt")
    recogniser.learn_folder("support/")                                  or learn({"wren": ["a.jpg"], "robin": [...]})
    recogniser.predict(["one.jpg"])                                      [Prediction(label="wren", score=0.93, ...)]

The classes are those of the support folder. The model need not have been trained on them, and they may have different
numbers of examples. If photos are in folders named like classes, the accuracy is printed too.
"""

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import typer
from pyarrow.fs import FileType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from scipy.stats import binomtest

from raysearch.core import UserError, atomic, cli, count_cpus, sanitize
from raysearch.data import image_sources, reading_account, shards
from raysearch.inference.classifier import FewShotClassifier, Prediction
from raysearch.ingest import OnCorrupt
from raysearch.storage import Location, LocationLike

__all__ = ["Accuracy", "FewShotClassifier", "Named", "Prediction", "accuracy", "name_images"]

SHOWN = 5  # images that were left out and are listed on screen; --json lists them all
BATCH = 128  # images decoded at once
COLUMNS = ("path", "class", "score")  # first columns of the --out table; one column per class follows

Recogniser = FewShotClassifier  # its public name

app = typer.Typer(add_completion=False)


class Named(NamedTuple):
    """An image and its prediction."""

    path: str  # relative to the folder
    folder: str | None  # name of the image's sub-folder, or None without one; for shards its class
    prediction: Prediction


class Accuracy(NamedTuple):
    """The share of images whose prediction equals their folder's name, with Wilson's 95 % interval over images.

    The interval holds for the given examples; other examples would give another accuracy.
    """

    value: float
    low: float
    high: float
    images: int


def name_images(
    recogniser: FewShotClassifier,
    place: LocationLike,
    on_corrupt: Literal["skip", "fail"] = "skip",
    follow_links: bool = False,
) -> Iterator[Named]:
    """Name the images of a folder or of shards, or a single image, batch by batch.

    Args:
        recogniser: a model that has learned its classes.
        place: see `raysearch.data.image_sources`; or the path of an image on this machine.
        on_corrupt: "skip" leaves out an image of a folder that does not decode; "fail" stops.
        follow_links: also read links that lead out of the folder.

    Raises:
        UserError: the place does not exist, holds no image that can be read, or an image cannot be read and
            `on_corrupt` is "fail".
    """
    return _Naming(recogniser, place, on_corrupt, follow_links).named()


class _Naming:
    """The naming of all images of a place; at the end `corrupt` and `account` tell what was left out."""

    def __init__(self, recogniser: FewShotClassifier, place: LocationLike, on_corrupt: str, follow_links: bool) -> None:
        self.recogniser = recogniser
        self.location = Location.parse(place)
        self.on_corrupt = on_corrupt
        self.corrupt: list[shards.Corrupt] = []
        self.account = reading_account.ReadingAccount(read=1)
        self._found: image_sources.FoundImages | None = None
        if self.location.local is None or self.location.local.is_dir():
            self._found = image_sources.find_images(self.location, follow_links)
            self.account = self._found.account

    def named(self) -> Iterator[Named]:
        """Yield each image with its prediction."""
        if self._found is None:
            path = self.location.local
            assert path is not None
            yield Named(str(self.location), None, self.recogniser.predict([path])[0])
            return
        with ThreadPoolExecutor(count_cpus()) as threads:  # decoders release the GIL
            while batch := list(itertools.islice(self._found.images, BATCH)):
                pixels = []
                photos = []
                for photo, read in zip(batch, threads.map(self.recogniser.preprocessing.read, batch), strict=True):
                    if isinstance(read, shards.Corrupt):
                        self._leave_out(read)
                    else:
                        pixels.append(read)
                        photos.append(photo)
                predictions = self.recogniser.predict(np.stack(pixels)) if pixels else []
                for photo, prediction in zip(photos, predictions, strict=True):
                    yield Named(photo.path, photo.label, prediction)
        self.account = self.account.complete(self._found.total - len(self.corrupt), self.corrupt)

    def _leave_out(self, image: shards.Corrupt) -> None:
        assert self._found is not None
        self.corrupt.append(image)
        if self.on_corrupt == "fail" or len(self.corrupt) == self._found.total:
            first = self.corrupt[0]
            others = f"; none of {self._found.total:,} images can be read" if len(self.corrupt) > 1 else ""
            raise UserError(f"{first.source} in {self.location} is corrupt: {first.reason}{others}")


def accuracy(named: Sequence[Named]) -> Accuracy | None:
    """Return the accuracy over the images whose folder is named like a class; None without such images.

    >>> known = Prediction("wren", 0.7, {"wren": 0.7, "owl": 0.3}, {"wren": 1.0, "owl": 0.15})
    >>> accuracy([Named("wren/a.jpg", "wren", known), Named("owl/b.jpg", "owl", known), Named("c.jpg", None, known)])
    Accuracy(value=0.5, low=0.0945, high=0.9055, images=2)
    """
    labeled = [image for image in named if image.folder in image.prediction.scores]
    if not labeled:
        return None
    correct = sum(image.folder == image.prediction.label for image in labeled)
    share = binomtest(correct, len(labeled))
    low, high = (round(float(bound), 4) for bound in share.proportion_ci(method="wilson"))
    return Accuracy(round(float(share.statistic), 4), low, high, len(labeled))


@app.command(
    epilog=cli.examples(
        "raysearch classify few.pt support/ photos/",
        "raysearch classify few.pt support/ bird.jpg --top 5 --json",
    )
)
def main(
    model: Path = typer.Argument(metavar="MODEL", help="file that raysearch.train fewshot --export wrote"),
    support: Path = typer.Argument(metavar="SUPPORT_DIR", help="examples: one folder of images per class"),
    query: str = typer.Argument(metavar="QUERY", help="an image, a folder of images, or shards; a path or URI"),
    out: Path | None = typer.Option(None, help="CSV file for all scores, one column per class"),
    top: int | None = typer.Option(None, min=1, help="classes printed per image; default: two, with --json all"),
    as_json: bool = typer.Option(False, "--json", help="print JSON"),
    on_corrupt: OnCorrupt = typer.Option(
        OnCorrupt.skip, help="an image of a QUERY folder that does not decode: skip it, or stop"
    ),
    strict: bool = typer.Option(False, "--strict", help="stop if anything in a folder is left out for any reason"),
    follow_links: bool = typer.Option(False, "--follow-links", help="also read links that lead out of a folder"),
) -> None:
    """Name the images of QUERY by the examples in SUPPORT_DIR."""
    if out is not None:
        cli.check_writable(out, "--out")
    place = Location.parse(query)
    if place.file_type() == FileType.NotFound:
        raise UserError(f"no image or folder at {place}")
    recogniser = FewShotClassifier.load(model)
    examples = image_sources.images_by_class(support, follow_links)
    recogniser.learn(examples)
    classes = list(recogniser.shots)
    if out is not None and (taken := sorted({*COLUMNS} & {*classes})):
        raise UserError(f"--out: class '{taken[0]}' has the name of another column of the table; rename its folder")
    naming = _Naming(recogniser, place, on_corrupt.value, follow_links)
    accounts = {str(support): image_sources.account_of_examples(support, examples, follow_links)}
    if strict:
        accounts[str(support)].refuse(str(support))
        naming.account.refuse(str(place))
    named = list(_with_progress(naming.named()))
    accounts[str(place)] = naming.account
    if strict:
        naming.account.refuse(str(place))
    if out is not None:
        _write(out, classes, named)
    if as_json:
        cli.print_json(_plain(recogniser, named, naming.corrupt, accounts, top))
        return
    console = cli.console()
    console.print(_table(recogniser, named, 2 if top is None else top))
    if rate := accuracy(named):
        others = f"; {len(named) - rate.images:,} other images not counted" if rate.images < len(named) else ""
        console.print(
            f"accuracy {rate.value:.1%} (95 % interval {rate.low:.1%} to {rate.high:.1%}) "
            f"of {rate.images:,} images in folders named like classes{others}"
        )
    for image in naming.corrupt[:SHOWN]:
        console.print(f"left out: {image.source}: {image.reason}", style="yellow")
    if len(naming.corrupt) > SHOWN:
        console.print(f"... and {len(naming.corrupt) - SHOWN:,} more", style="yellow")
    for folder, account in accounts.items():
        console.print(f"{folder}:")
        console.print(account.table())
    if out is not None:
        console.print(f"scores of all classes: {out}")


def _with_progress(named: Iterator[Named]) -> Iterator[Named]:
    screen = cli.console(stderr=True)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        yield from bar.track(named, description="images")


def _write(out: Path, classes: Sequence[str], named: Sequence[Named]) -> None:
    def _fill(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow([*COLUMNS, *map(sanitize.csv_text, classes)])
            for image in named:
                prediction = image.prediction
                scores = (prediction.scores[label] for label in classes)
                names = map(sanitize.csv_text, (image.path, prediction.label))
                rows.writerow([*names, prediction.score, *scores])

    atomic.replace_file(out, _fill)


def _plain(
    recogniser: FewShotClassifier,
    named: Sequence[Named],
    corrupt: Sequence[shards.Corrupt],
    accounts: Mapping[str, reading_account.ReadingAccount],
    top: int | None,
) -> dict[str, object]:
    rate = accuracy(named)
    return {
        "model": recogniser.sha256,
        "shots": recogniser.shots,
        "accuracy": rate and rate._asdict(),
        "images": [
            {
                "path": image.path,
                "folder": image.folder,
                "class": image.prediction.label,
                "score": image.prediction.score,
                "scores": dict(itertools.islice(image.prediction.scores.items(), top)),
                "logits": dict(itertools.islice(image.prediction.logits.items(), top)),
            }
            for image in named
        ],
        "left_out": [{"path": image.source, "reason": image.reason} for image in corrupt],
        "accounts": {folder: account.model_dump() for folder, account in accounts.items()},
    }


def _table(recogniser: FewShotClassifier, named: Sequence[Named], top: int) -> cli.TerminalTable:
    shown = min(top, len(recogniser.shots))
    ranks = ["class", "runner-up", *(f"no. {place}" for place in range(3, shown + 1))][:shown]
    headings = [heading for rank in ranks for heading in (rank, "score")]
    shots = sorted(set(recogniser.shots.values()))
    examples = f"{shots[0]}" if len(shots) == 1 else f"{shots[0]} to {shots[-1]}"
    note = f"scores: softmax of the logits of {len(recogniser.shots)} classes with {examples} examples each"
    rows = []
    for image in named:
        best = itertools.islice(image.prediction.scores.items(), shown)
        rows.append([image.path, *(cell for label, score in best for cell in (label, f"{score:.3f}"))])
    return cli.table_of_rows(("path", *headings), rows, names=("path", "class"), note=note)


if __name__ == "__main__":
    cli.run(app)
