"""CUB-200-2011, the official release (CUB_200_2011.tgz): 200 bird species, 11,788 photos.

Wah, Branson, Welinder, Perona and Belongie, "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001; the lists are
described in the release's README, and in `id_lists`.

Traps. The archive puts `attributes.txt` beside `CUB_200_2011/`, so either is taken as SRC. Class ids count from 1, and
sorting the names gives the same order only because they begin with the number ("001.Black_footed_Albatross"). Some
photos are grey; shards hold RGB. Boxes are floats, from the image's corner. The official split has every species in
both parts; few-shot studies part the species instead, in three ways that do not agree (see `data.class_splits.splits`):
take this layout, and name one of them in the study.
"""

from pathlib import Path

from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import id_lists


def listing(base: Path) -> Listing:
    """Samples of CUB_200_2011/; a class is called as its folder is."""
    return id_lists.listing(base, folder=lambda number, name: name, name=lambda number, name: name)


LAYOUT = official_release(
    "CUB-200-2011",
    (Signature((*id_lists.LISTS, "images"), ("", "CUB_200_2011"), without=("hierarchy.txt",)),),
    listing,
    PublishedCounts({"train": 5994, "test": 5794}, {"train": 200, "test": 200}),
    id_lists.boxes,
)
