"""Food-101, the official release (food-101.tar.gz): 101 dishes, 1,000 photos each.

Bossard, Guillaumin and Van Gool, "Food-101 - Mining Discriminative Components with Random Forests", ECCV 2014; the
lists are described in the release's README. `meta/{train,test}.txt` have `<class>/<id>` without `.jpg`,
`meta/classes.txt` the names of the folders in label order; `meta/labels.txt` has them for display and `meta/*.json` the
same lists again.

Traps. Train is noisy on purpose, some labels are wrong; test was cleaned by hand. A few photos are grey.
"""

from pathlib import Path

from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release
from raysearch.data.layouts.listing import ListEntry, Listing, listing_from_lists
from raysearch.data.layouts.readers import disk

LISTS = {split: f"meta/{split}.txt" for split in ("train", "test")}


def listing(base: Path) -> Listing:
    """Samples of food-101/."""
    classes = disk.lines(base / "meta/classes.txt")
    known, entries, wrong = set(classes), [], {}
    for split, file in LISTS.items():
        for line in disk.lines(base / file):
            source, label = f"images/{line}.jpg", line.partition("/")[0]
            if label in known:
                entries.append(ListEntry(source, label, split))
            else:
                wrong[source] = f"{file} says {label!r}, which is not in meta/classes.txt"
    return listing_from_lists(base, ["images"], entries, classes, wrong)


LAYOUT = official_release(
    "Food-101",
    (Signature(("meta/classes.txt", *LISTS.values(), "images"), ("", "food-101")),),
    listing,
    PublishedCounts({"train": 75750, "test": 25250}, {"train": 101, "test": 101}),
)
