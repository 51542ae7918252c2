"""The lists that CUB-200-2011 and NABirds share: each image has an id, and each list gives one property of the ids.

`images.txt` has `<id> <path below images/>`, `image_class_labels.txt` `<id> <class id>`, `train_test_split.txt` `<id>
<1: train, 0: test>`, `classes.txt` `<class id> <name>`, `bounding_boxes.txt` `<id> <x> <y> <width> <height>`, all
separated by spaces. An image's folder gives its class a second time, so the lists can be checked.
"""

from collections.abc import Callable
from pathlib import Path

from raysearch.core import UserError
from raysearch.data.layouts.listing import ListEntry, Listing, listing_from_lists
from raysearch.data.layouts.readers import disk
from raysearch.data.shards import Box

PARTS = {"1": "train", "0": "test"}
LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")


def list_samples(base: Path, folder: Callable[[str, str], str], name: Callable[[str, str], str]) -> Listing:
    """List the samples of a data set with these lists, with classes in the order of their ids.

    Args:
        base: folder of the lists.
        folder: (class id, name in classes.txt) -> folder of the class.
        name: (class id, name in classes.txt) -> name of the class here.

    Raises:
        UserError: a list that is missing or cannot be read.
    """
    paths, labels, training, names = (disk.read_pairs(base / file) for file in LISTS)
    entries: list[ListEntry] = []
    wrong = {f"id {image}": "in image_class_labels.txt, not in images.txt" for image in labels.keys() - paths.keys()}
    wrong |= {f"id {image}": "in train_test_split.txt, not in images.txt" for image in training.keys() - paths.keys()}
    for image, path in paths.items():
        source = f"images/{path}"
        label = labels.get(image, "")
        if not label:
            wrong[source] = "it has no class in image_class_labels.txt"
        elif label not in names:
            wrong[source] = f"class {label} is not in classes.txt"
        elif training.get(image) not in PARTS:
            wrong[source] = f"train_test_split.txt has {training.get(image, 'nothing')} for it, neither 0 nor 1"
        elif path.split("/")[0] != folder(label, names[label]):
            wrong[source] = f"its class is {names[label]} in image_class_labels.txt, but not by its folder"
        else:
            entries.append(ListEntry(source, name(label, names[label]), PARTS[training[image]]))
    classes = [name(label, names[label]) for label in sorted(names, key=_id_order)]
    return listing_from_lists(base, ["images"], entries, classes, wrong)


def read_boxes(base: Path) -> dict[str, Box]:
    """Return source -> bounding box; x and y are distances from the image's corner.

    Raises:
        UserError: a list that is missing or cannot be read.
    """
    paths = disk.read_pairs(base / "images.txt")
    boxes = {}
    for image, text in disk.read_pairs(base / "bounding_boxes.txt").items():
        x, y, width, height = parse_box(text, f"{base / 'bounding_boxes.txt'}, id {image}")
        if image in paths:
            boxes[f"images/{paths[image]}"] = (x, y, x + width, y + height)
    return boxes


def parse_box(text: str, where: str) -> Box:
    """Parse four numbers separated by spaces.

    Raises:
        UserError: anything else; the message begins with `where`.
    """
    try:
        first, second, third, fourth = map(float, text.split())
    except ValueError:
        raise UserError(f"{where}: {text!r} is not a box of four numbers") from None
    return first, second, third, fourth


def _id_order(label: str) -> tuple[int, str]:
    return (int(label), label) if label.isdigit() else (0, label)
