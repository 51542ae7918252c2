"""The lists that CUB-200-2011 and NABirds share: an id an image, and a file for each thing that is said of an id.

`images.txt` has `<id> <path below images/>`, `image_class_labels.txt` `<id> <class id>`, `train_test_split.txt` `<id>
<1: train, 0: test>`, `classes.txt` `<class id> <name>`, `bounding_boxes.txt` `<id> <x> <y> <width> <height>`, all by
spaces. Which folder an image lies in says its class a second time, so that the lists can be checked.
"""

from collections.abc import Callable
from pathlib import Path

from raysearch.core.errors import UserError
from raysearch.data.layouts.listing import ListEntry, Listing, listing_from_lists
from raysearch.data.layouts.readers import disk
from raysearch.data.shards import Box

PARTS = {"1": "train", "0": "test"}
LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")


def listing(base: Path, folder: Callable[[str, str], str], name: Callable[[str, str], str]) -> Listing:
    """The samples of a data set with these lists, classes in the order of their ids.

    Args:
        base: where the lists lie.
        folder: class id, name in classes.txt -> the folder of the class.
        name: class id, name in classes.txt -> what the class is called here.
    """
    paths, labels, training, names = (disk.pairs(base / file) for file in LISTS)
    entries: list[ListEntry] = []
    wrong = {f"id {image}": "in image_class_labels.txt, not in images.txt" for image in labels.keys() - paths.keys()}
    wrong |= {f"id {image}": "in train_test_split.txt, not in images.txt" for image in training.keys() - paths.keys()}
    for image, path in paths.items():
        source, label = f"images/{path}", labels.get(image, "")
        if label not in names:
            of = f"class {label} is not in classes.txt" if label else "image_class_labels.txt says nothing of it"
            wrong[source] = of
        elif training.get(image) not in PARTS:
            wrong[source] = f"train_test_split.txt says {training.get(image, 'nothing')} of it, neither 0 nor 1"
        elif path.split("/")[0] != folder(label, names[label]):
            wrong[source] = f"image_class_labels.txt says {names[label]}, its folder does not"
        else:
            entries.append(ListEntry(source, name(label, names[label]), PARTS[training[image]]))
    return listing_from_lists(
        base, ["images"], entries, [name(label, names[label]) for label in sorted(names, key=_number)], wrong
    )


def boxes(base: Path) -> dict[str, Box]:
    """Source -> bounding box; x and y are distances from the image's corner."""
    paths, found = disk.pairs(base / "images.txt"), {}
    for image, text in disk.pairs(base / "bounding_boxes.txt").items():
        x, y, width, height = numbers(text, f"{base / 'bounding_boxes.txt'}, id {image}")
        if image in paths:
            found[f"images/{paths[image]}"] = (x, y, x + width, y + height)
    return found


def numbers(text: str, where: str) -> Box:
    """Four numbers by spaces; UserError with `where` for anything else."""
    try:
        first, second, third, fourth = map(float, text.split())
    except ValueError:
        raise UserError(f"{where}: {text!r} is no box of four numbers") from None
    return first, second, third, fourth


def _number(label: str) -> tuple[int, str]:
    return (int(label), label) if label.isdigit() else (0, label)
