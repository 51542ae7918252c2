"""A user's function as a layout: `read(src)` returns (path or bytes, label, split) for each image.

    raysearch ingest my_layout.py:read SRC OUT

A relative path is below SRC, or begins in the current directory. The split is "train", "val" or "test". None or an
empty text leaves the choice to raysearch, which holds out a share of each class for testing, as of folders of photos.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from raysearch.core import UserError, type_of, user_code
from raysearch.data import shards
from raysearch.data.layouts.layout import LAYOUTS, Layout, refuse_test_fraction
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers.temporary_images import TemporaryImages
from raysearch.data.shards import FileLoader, Sample


def layout_of_code(code: user_code.UserCode) -> Layout:
    """Return the layout that a user's function reads."""
    read = user_code.load(code)
    if not callable(read):
        raise UserError(f"'{code.reference}' is {type_of(read)}, not a function")
    return Layout(
        name=code.reference,
        about="a function of your own",
        looks_for="",
        recognize=lambda root: "",
        read=lambda src, test_fraction: _read(code, read, src, test_fraction),
    )


def _read(
    code: user_code.UserCode, read: Callable[[str], Iterable[Any]], src: str, test_fraction: float | None
) -> Listing:
    try:
        items = list(read(src))
    except UserError:
        raise
    except Exception as error:
        raise _explained(code, error) from error
    store: TemporaryImages | None = None
    samples: list[Sample] = []
    given: list[str] = []
    for number, item in enumerate(items):
        image, label, split = _checked(code, number, item)
        if isinstance(image, bytes):
            store = store or TemporaryImages()
            source = f"{number:08d}"
            loader: Any = store.add(image, Path(code.root) / code.entry)
        else:
            path = _find(src, image)
            root = os.path.abspath(src)
            below = os.path.abspath(path).startswith(f"{root}{os.sep}")
            source = os.path.relpath(path, root) if below else os.path.abspath(path)
            loader = FileLoader(root, source) if below else FileLoader("", source)
        given.append(split)
        samples.append(Sample(source.replace(os.sep, "/"), label, split or "train", loader))
    if store is not None:
        store.flush()
    if not samples:
        raise UserError(f"{code.reference} returned no image of {src}")
    if all(given):
        refuse_test_fraction(test_fraction, code.reference)
        return Listing(tuple(samples))
    if any(given):
        first = given.index("")
        raise UserError(f"{code.reference}: image {first} has no split, and others have; give all images one, or none")
    return Listing(tuple(_hold_out(samples, test_fraction, Path(src))))


def _find(src: str, image: str) -> Path:
    """Return the path of an image: below SRC, or from the current directory where SRC has none."""
    below = Path(src, image)
    return below if below.exists() or not Path(image).exists() else Path(image)


def _checked(code: user_code.UserCode, number: int, item: Any) -> tuple[str | bytes, str, str]:
    """Return image, label and split of an item that a user's function returned.

    Raises:
        UserError: it is something else.
    """
    where = f"{code.reference}: item {number}"
    if not isinstance(item, tuple | list) or len(item) != 3:
        raise UserError(f"{where} is {str(item)[:60]!r}, not (path or bytes, label, split)")
    image, label, split = item
    if isinstance(image, bytearray | memoryview):
        image = bytes(image)
    if isinstance(image, os.PathLike):
        image = os.fspath(image)
    if not isinstance(image, str | bytes):
        raise UserError(f"{where}: the image is {type_of(image)}, not a path or bytes")
    if label is None or str(label).strip() == "":
        raise UserError(f"{where} has no label")
    if split not in (*shards.SPLITS, None, ""):
        raise UserError(f"{where}: the split is {split!r}, not one of {', '.join(shards.SPLITS)}")
    return image, str(label), split or ""


def _hold_out(samples: list[Sample], fraction: float | None, root: Path) -> list[Sample]:
    """Return the samples with a share of each class in the test part, chosen by the hashes of their sources."""
    classes: dict[str, list[str]] = {}
    for sample in samples:
        classes.setdefault(sample.label, []).append(sample.source)
    chosen = shards.choose_test_sources(classes, fraction, root)
    return [sample._replace(split="test" if sample.source in chosen else "train") for sample in samples]


def _explained(code: user_code.UserCode, error: Exception) -> UserError:
    place = user_code.describe_place(error)
    text = f"{code.reference}: {type(error).__name__}: {' '.join(str(error).split())}"
    return UserError(text + (f" ({place})" if place else ""))


LAYOUTS.from_code = layout_of_code
