"""tieredImageNet: 608 classes of ILSVRC 2012 in 34 categories of WordNet, of which no two parts share one.

Ren et al., "Meta-Learning for Semi-Supervised Few-Shot Classification", ICLR 2018: 351 classes to learn from, 97 to
choose on, 160 to test on. On disk is a folder a class, named by its WordNet id, in `train/`, `val/` and `test/`.

Traps. Classes have 732 to 1,300 photos. A README in use writes 91 for 97 val classes. Networks with ImageNet weights
have seen the test classes. Pickled arrays are another package, which is not read.
"""

from raysearch.data.layouts.layout import PublishedCounts
from raysearch.data.layouts.readers.known_parts import layout

LAYOUT = layout(
    "tieredimagenet",
    "tieredImageNet",
    PublishedCounts({"train": 448695, "val": 124261, "test": 206209}, {"train": 351, "val": 97, "test": 160}),
)
