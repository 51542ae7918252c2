"""FGVC-Aircraft, the official release (fgvc-aircraft-2013b.tar.gz): 100 variants, 10,000 photos.

Maji, Rahtu, Kannala, Blaschko and Vedaldi, "Fine-Grained Visual Classification of Aircraft", arXiv 1306.5151. The
release's README describes the lists.

Traps. Variant names contain spaces and slashes ("F/A-18"), so a line of `images_variant_*.txt` is an id and the rest.
Image ids have leading zeros. A label is the line in `variants.txt`, which is not sorted. The lowest 20 pixels or so of
a photo are a banner with its owner's name. Papers on hashing keep it, and so does this layout; boxes exclude it. In
`images_box.txt` the top left pixel is (1, 1) and the last pixel is inside the box.

`train` is the release's trainval (6,667), as in papers on retrieval; `--val` holds out a part of it.
"""

from collections.abc import Iterator
from pathlib import Path

from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release, register_layout
from raysearch.data.layouts.listing import Listing, listing_from_labels
from raysearch.data.layouts.readers import disk, id_lists
from raysearch.data.shards import Box

LISTS = {"train": "images_variant_trainval.txt", "test": "images_variant_test.txt"}


def list_samples(base: Path) -> Listing:
    """List the samples of fgvc-aircraft-2013b/data/.

    Raises:
        UserError: a list that cannot be read.
    """
    return listing_from_labels(base, "images", "variants.txt", LISTS, _read_labels)


def _read_labels(path: Path) -> Iterator[tuple[str, str]]:
    for image, variant in disk.read_pairs(path).items():
        yield f"images/{image}.jpg", variant


def read_boxes(base: Path) -> dict[str, Box]:
    """Return source -> bounding box.

    Raises:
        UserError: the list of boxes cannot be read.
    """
    boxes = {}
    for image, text in disk.read_pairs(base / "images_box.txt").items():
        left, top, right, bottom = id_lists.parse_box(text, f"{base / 'images_box.txt'}, image {image}")
        boxes[f"images/{image}.jpg"] = (left - 1, top - 1, right, bottom)
    return boxes


LAYOUT = register_layout(
    official_release(
        "aircraft",
        "FGVC-Aircraft",
        (Signature(("variants.txt", *LISTS.values(), "images"), ("", "data", "fgvc-aircraft-2013b/data")),),
        list_samples,
        PublishedCounts({"train": 6667, "test": 3333}, {"train": 100, "test": 100}),
        read_boxes,
        annotations=("images_box.txt",),
    )
)
