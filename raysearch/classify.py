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
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import typer
from pyarrow.fs import FileType
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from scipy.stats import binomtest

from raysearch.core import UserError, atomic, cli
from raysearch.data import image_sources
from raysearch.data.shards import Corrupt
from raysearch.inference.classifier import FewShotClassifier, Prediction
from raysearch.storage import Location, LocationLike

__all__ = ["Accuracy", "FewShotClassifier", "Named", "Prediction", "accuracy", "name_images"]

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


def name_images(recogniser: FewShotClassifier, place: LocationLike) -> Iterator[Named]:
    """Name the images of a folder or of shards, or a single image, batch by batch.

    Args:
        recogniser: a model that has learned its classes.
        place: see `raysearch.data.image_sources`; or the path of an image on this machine.

    Raises:
        UserError: the place does not exist, holds no image, or an image cannot be read.
    """
    location = Location.parse(place)
    if location.local is not None and not location.local.is_dir():
        yield Named(str(location), None, recogniser.predict([location.local])[0])
        return
    photos = image_sources.find_images(location).images
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # decoders release the GIL
        while batch := list(itertools.islice(photos, BATCH)):
            pixels = []
            for read in threads.map(recogniser.preprocessing.read, batch):
                if isinstance(read, Corrupt):
                    raise UserError(f"{read.source} in {location} is corrupt: {read.reason}")
                pixels.append(read)
            predictions = recogniser.predict(np.stack(pixels))
            for photo, prediction in zip(batch, predictions, strict=True):
                yield Named(photo.path, photo.label, prediction)


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


@app.command()
def main(
    model: Path = typer.Argument(metavar="MODEL", help="file that raysearch.train fewshot --export wrote"),
    support: Path = typer.Argument(metavar="SUPPORT_DIR", help="examples: one folder of images per class"),
    query: str = typer.Argument(metavar="QUERY", help="an image, a folder of images, or shards; a path or URI"),
    out: Path | None = typer.Option(None, help="CSV file for all scores, one column per class"),
    top: int | None = typer.Option(None, min=1, help="classes printed per image; default: two, with --json all"),
    as_json: bool = typer.Option(False, "--json", help="print JSON"),
) -> None:
    """Name the images of QUERY by the examples in SUPPORT_DIR."""
    if out is not None:
        cli.check_writable(out, "--out")
    place = Location.parse(query)
    if place.file_type() == FileType.NotFound:
        raise UserError(f"no image or folder at {place}")
    recogniser = FewShotClassifier.load(model)
    recogniser.learn_folder(support)
    classes = list(recogniser.shots)
    if out is not None and (taken := sorted({*COLUMNS} & {*classes})):
        raise UserError(f"--out: class '{taken[0]}' has the name of another column of the table; rename its folder")
    named = list(_with_progress(name_images(recogniser, place)))
    if out is not None:
        _write(out, classes, named)
    if as_json:
        print(json.dumps(_plain(recogniser, named, top), indent=1, ensure_ascii=False))
        return
    console = cli.console()
    console.print(_table(recogniser, named, 2 if top is None else top))
    if found := accuracy(named):
        others = f"; {len(named) - found.images:,} other images not counted" if found.images < len(named) else ""
        console.print(
            f"accuracy {found.value:.1%} (95 % interval {found.low:.1%} to {found.high:.1%}) "
            f"of {found.images:,} images in folders named like classes{others}"
        )
    if out is not None:
        console.print(f"scores of all classes: {escape(str(out))}")


def _with_progress(named: Iterator[Named]) -> Iterator[Named]:
    screen = Console(stderr=True)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        yield from bar.track(named, description="images")


def _write(out: Path, classes: Sequence[str], named: Sequence[Named]) -> None:
    def _fill(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow([*COLUMNS, *classes])
            for image in named:
                prediction = image.prediction
                scores = (prediction.scores[label] for label in classes)
                rows.writerow([image.path, prediction.label, prediction.score, *scores])

    try:
        atomic.replace_file(out, _fill)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error


def _plain(recogniser: FewShotClassifier, named: Sequence[Named], top: int | None) -> dict[str, object]:
    found = accuracy(named)
    return {
        "model": recogniser.sha256,
        "shots": recogniser.shots,
        "accuracy": found and found._asdict(),
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
    }


def _table(recogniser: FewShotClassifier, named: Sequence[Named], top: int) -> Table:
    shown = min(top, len(recogniser.shots))
    ranks = ["class", "runner-up", *(f"no. {place}" for place in range(3, shown + 1))][:shown]
    headings = [heading for rank in ranks for heading in (rank, "score")]
    table = Table("path", *headings, box=None, padding=(0, 2, 0, 0))
    shots = sorted(set(recogniser.shots.values()))
    examples = f"{shots[0]}" if len(shots) == 1 else f"{shots[0]} to {shots[-1]}"
    table.caption = f"scores: softmax of the logits of {len(recogniser.shots)} classes with {examples} examples each"
    for image in named:
        best = itertools.islice(image.prediction.scores.items(), shown)
        table.add_row(escape(image.path), *(cell for label, score in best for cell in (escape(label), f"{score:.3f}")))
    return table


if __name__ == "__main__":
    cli.run(app)
