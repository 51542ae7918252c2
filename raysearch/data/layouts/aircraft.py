"""FGVC-Aircraft, the official release (fgvc-aircraft-2013b.tar.gz): 100 variants, 10,000 photos.

Maji, Rahtu, Kannala, Blaschko and Vedaldi, "Fine-Grained Visual Classification of Aircraft", arXiv 1306.5151; the lists
are described in the release's README.

Traps. Variant names hold spaces and slashes ("F/A-18"), so a line of `images_variant_*.txt` is an id and the rest.
Image ids have leading zeros. A label is the line of `variants.txt`, which is no sorted order. Photos end in a banner of
some 20 pixels with their owner's name: papers on hashing keep it, and so does this; boxes leave it out. In
`images_box.txt` the top left pixel is (1, 1) and the last pixel is inside the box.

`train` is the release's trainval (6,667), as papers on retrieval train; `--val` holds out a part of it.
"""

from pathlib import Path

from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release
from raysearch.data.layouts.listing import ListEntry, Listing, listing_from_lists
from raysearch.data.layouts.readers import disk, id_lists
from raysearch.data.shards import Box

LISTS = {"train": "images_variant_trainval.txt", "test": "images_variant_test.txt"}


def listing(base: Path) -> Listing:
    """Samples of fgvc-aircraft-2013b/data/."""
    classes = disk.lines(base / "variants.txt")
    known, entries, wrong = set(classes), [], {}
    for split, file in LISTS.items():
        for image, variant in disk.pairs(base / file).items():
            source = f"images/{image}.jpg"
            if variant in known:
                entries.append(ListEntry(source, variant, split))
            else:
                wrong[source] = f"{file} says {variant!r}, which is not in variants.txt"
    return listing_from_lists(base, ["images"], entries, classes, wrong)


def boxes(base: Path) -> dict[str, Box]:
    """Source -> bounding box."""
    found = {}
    for image, text in disk.pairs(base / "images_box.txt").items():
        left, top, right, bottom = id_lists.numbers(text, f"{base / 'images_box.txt'}, image {image}")
        found[f"images/{image}.jpg"] = (left - 1, top - 1, right, bottom)
    return found


LAYOUT = official_release(
    "FGVC-Aircraft",
    (Signature(("variants.txt", *LISTS.values(), "images"), ("", "data", "fgvc-aircraft-2013b/data")),),
    listing,
    PublishedCounts({"train": 6667, "test": 3333}, {"train": 100, "test": 100}),
    boxes,
)
