"""tieredImageNet: 608 classes of ILSVRC 2012 in 34 categories of WordNet; no two parts share a category.

Ren et al., "Meta-Learning for Semi-Supervised Few-Shot Classification", ICLR 2018: 351 classes for training, 97 for
validation, 160 for testing. On disk is one folder per class, named by its WordNet id, in `train/`, `val/` and `test/`.

Traps. Classes have 732 to 1,300 photos. A README in use writes 91 for 97 val classes. Networks with ImageNet weights
have seen the test classes. Packages of pickled arrays are not read.
"""

from raysearch.data.layouts.layout import PublishedCounts, register_layout
from raysearch.data.layouts.readers.known_parts import known_parts_layout

LAYOUT = register_layout(
    known_parts_layout(
        "tieredimagenet",
        "tieredImageNet",
        PublishedCounts({"train": 448695, "val": 124261, "test": 206209}, {"train": 351, "val": 97, "test": 160}),
    )
)
