"""miniImageNet: 100 classes of ILSVRC 2012, 64 for training, 16 for validation, 20 for testing, 600 photos each.

Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016; this is the partition of Ravi and Larochelle,
"Optimization as a Model for Few-Shot Learning", ICLR 2017. On disk are its lists (`train.csv`, `val.csv`, `test.csv`
with filename and label, a WordNet id) with photos in one folder `images/`, or one folder per class in `train/`, `val/`,
`test/`.

Traps. Vinyals et al.'s own partition has other classes, and its accuracies are not comparable. File names
(n0153282900000005.jpg) are not ImageNet names. Some packages have PNG or JPEG files of 84 px, some the photos in
ImageNet's size. Networks with ImageNet weights have seen the test classes. Packages of pickled arrays are not read.
"""

from raysearch.data.layouts.layout import PublishedCounts, register_layout
from raysearch.data.layouts.readers.known_parts import known_parts_layout

LAYOUT = register_layout(
    known_parts_layout(
        "miniimagenet",
        "miniImageNet",
        PublishedCounts({"train": 38400, "val": 9600, "test": 12000}, {"train": 64, "val": 16, "test": 20}),
    )
)
