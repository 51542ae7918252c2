"""CUB-200-2011, the official release (CUB_200_2011.tgz): 200 bird species, 11,788 photos.

Wah, Branson, Welinder, Perona and Belongie, "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001. The release's
README and `readers.id_lists` describe the lists.

Traps. The archive puts `attributes.txt` beside `CUB_200_2011/`, so either folder may be SRC. Class ids count from 1.
Sorting the names gives the same order only because they begin with the number ("001.Black_footed_Albatross"). Some
photos are gray; shards hold RGB. Boxes are floats, from the image's corner. The official split has every species in
both parts. Few-shot studies divide the species instead, in three ways that do not agree (see `class_splits.splits`):
use this layout, and name one of them in the study.
"""

from pathlib import Path

from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release, register_layout
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import id_lists


def list_samples(base: Path) -> Listing:
    """List the samples of CUB_200_2011/; a class has the name of its folder.

    Raises:
        UserError: a list that is missing or cannot be read.
    """
    return id_lists.list_samples(base, folder=lambda number, name: name, name=lambda number, name: name)


LAYOUT = register_layout(
    official_release(
        "cub",
        "CUB-200-2011",
        (Signature((*id_lists.LISTS, "images"), ("", "CUB_200_2011"), without=("hierarchy.txt",)),),
        list_samples,
        PublishedCounts({"train": 5994, "test": 5794}, {"train": 200, "test": 200}),
        id_lists.read_boxes,
        annotations=("bounding_boxes.txt",),
    )
)
