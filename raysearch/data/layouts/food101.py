"""Food-101, the official release (food-101.tar.gz): 101 dishes, 1,000 photos each.

Bossard, Guillaumin and Van Gool, "Food-101 - Mining Discriminative Components with Random Forests", ECCV 2014. The
release's README describes the lists. `meta/{train,test}.txt` have `<class>/<id>` without `.jpg`, and
`meta/classes.txt` the names of the folders in label order. `meta/labels.txt` has them for display, and `meta/*.json`
the same lists again.

Traps. Train is noisy on purpose, with some wrong labels; test was cleaned by hand. A few photos are gray.
"""

from collections.abc import Iterator
from pathlib import Path

from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release, register_layout
from raysearch.data.layouts.listing import Listing, listing_from_labels
from raysearch.data.layouts.readers import disk

LISTS = {split: f"meta/{split}.txt" for split in ("train", "test")}


def list_samples(base: Path) -> Listing:
    """List the samples of food-101/.

    Raises:
        UserError: a list that cannot be read.
    """
    return listing_from_labels(base, "images", "meta/classes.txt", LISTS, _read_labels)


def _read_labels(path: Path) -> Iterator[tuple[str, str]]:
    for line in disk.read_lines(path):
        yield f"images/{line}.jpg", line.partition("/")[0]


LAYOUT = register_layout(
    official_release(
        "food101",
        "Food-101",
        (Signature(("meta/classes.txt", *LISTS.values(), "images"), ("", "food-101")),),
        list_samples,
        PublishedCounts({"train": 75750, "test": 25250}, {"train": 101, "test": 101}),
    )
)
