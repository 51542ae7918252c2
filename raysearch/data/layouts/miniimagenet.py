"""miniImageNet: 100 classes of ILSVRC 2012, 64 to learn from, 16 to choose on, 20 to test on, 600 photos each.

Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016; this is the partition of Ravi and Larochelle,
"Optimization as a Model for Few-Shot Learning", ICLR 2017. On disk are its lists (`train.csv`, `val.csv`, `test.csv`
with filename and label, a WordNet id) with photos in one folder `images/`, or a folder a class in `train/`, `val/`,
`test/`.

Traps. Vinyals et al.'s own partition has other classes, and accuracies do not compare. File names
(n0153282900000005.jpg) are no ImageNet names. Some packages have 84 px PNG or JPEG files, some the photos in ImageNet's
size. Networks with ImageNet weights have seen the test classes. Pickled arrays are another package, which is not read.
"""

from raysearch.data.layouts.layout import PublishedCounts
from raysearch.data.layouts.readers.known_parts import layout

LAYOUT = layout(
    "miniimagenet",
    "miniImageNet",
    PublishedCounts({"train": 38400, "val": 9600, "test": 12000}, {"train": 64, "val": 16, "test": 20}),
)
