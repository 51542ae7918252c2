"""Stanford Dogs, the official release (images.tar, annotation.tar, lists.tar): 120 breeds, 20,580 photos.

Khosla, Jayadevaprakash, Yao and Fei-Fei, "Novel Dataset for Fine-Grained Image Categorization", FGVC workshop, CVPR
2011. `train_list.mat` and `test_list.mat` (beside `Images/` or in `lists/`) hold `file_list`
(`n02085620-Chihuahua/n02085620_5927.jpg`) and `labels` from 1 to 120. `Annotation/<class>/<id>`, an XML file without an
extension, has a box for each dog.

Traps. The photos come from ImageNet's training part: a network with ImageNet weights has seen the test photos. The XML
names its own file wrongly in places (`%s`), so it is found by the photo's name. If several dogs have boxes, the box
around them all is used, so that no dog is cut. Edges count from the image's corner. The archive `images.tar` may be
beside the folders; it is not read.
"""

from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from raysearch.core import UserError
from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release, register_layout
from raysearch.data.layouts.listing import Listing, listing_from_lists
from raysearch.data.layouts.readers import label_lists, matlab
from raysearch.data.shards import Box

LISTS = {"train": "train_list.mat", "test": "test_list.mat"}
EDGES = ("xmin", "ymin", "xmax", "ymax")


def list_samples(base: Path) -> Listing:
    """List the samples of the folder that contains Images/.

    Raises:
        UserError: a list that is missing or cannot be read.
    """
    entries, classes, wrong = label_lists.name_labels(_read_lines(base))
    return listing_from_lists(base, ["Images"], entries, classes, wrong)


def read_boxes(base: Path) -> dict[str, Box]:
    """Return source -> the box around all dogs; photos without a readable annotation have none.

    Raises:
        UserError: there is no folder of annotations.
    """
    if not (base / "Annotation").is_dir():
        raise UserError(f"{base} has no Annotation/, and --boxes needs it; extract annotation.tar there")
    boxes = {}
    for line in _read_lines(base):
        path = PurePosixPath(line.source)
        if box := _box_around_dogs(base / "Annotation" / path.parent.name / path.stem):
            boxes[line.source] = box
    return boxes


def _read_lines(base: Path) -> list[label_lists.Line]:
    lines = []
    for split, file in LISTS.items():
        path = base / file if (base / file).exists() else base / "lists" / file
        files, labels = matlab.read_variables(path, "file_list", "labels")
        if len(files) != len(labels):
            raise UserError(f"{path} has {len(files):,} files and {len(labels):,} labels")
        lines += [
            label_lists.Line(f"Images/{name}", int(label), split) for name, label in zip(files, labels, strict=True)
        ]
    return lines


def _box_around_dogs(path: Path) -> Box | None:
    try:
        dogs = [[float(dog.findtext(edge, "")) for edge in EDGES] for dog in ElementTree.parse(path).iter("bndbox")]
    except (OSError, ElementTree.ParseError, ValueError):
        return None
    if not dogs:
        return None
    left, top, right, bottom = zip(*dogs, strict=True)
    return min(left), min(top), max(right), max(bottom)


LAYOUT = register_layout(
    official_release(
        "dogs",
        "Stanford Dogs",
        (
            Signature((*LISTS.values(), "Images")),
            Signature((*(f"lists/{file}" for file in LISTS.values()), "Images")),
        ),
        list_samples,
        PublishedCounts({"train": 12000, "test": 8580}, {"train": 120, "test": 120}),
        read_boxes,
        annotations=("Annotation",),
    )
)
