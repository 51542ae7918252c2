"""CUB-200-2011 and NABirds as one data set that trains on the first and tests on the second.

Zhang, Yuan, Li, Chen, Fan and Shi (HelixFormer, arXiv 2207.00784) call this the cross-domain setting. SRC holds both
releases, in the folders `CUB_200_2011` and `nabirds`. All images of CUB are in train and all of NABirds in test, so
each class is in one part. `--set data.split=FILE` selects the authors' classes, if you have their lists.

Traps. Both sets have North American species, so a species may be in both under two names. The class names differ in
form ("010.Wren_(House)", "0817.Junco"), so no name is in both.
"""

from raysearch.data.layouts import cub, nabirds
from raysearch.data.layouts.layout import Layout, PublishedCounts, refuse_test_fraction, register_layout
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import disk
from raysearch.data.shards import Corrupt

RELEASES = ((cub.LAYOUT, "CUB_200_2011", "train"), (nabirds.LAYOUT, "nabirds", "test"))  # layout, folder, part


def read_both(src: str, test_fraction: float | None) -> Listing:
    """List the samples of both releases below SRC.

    Args:
        src: directory of both releases.
        test_fraction: must be None.

    Raises:
        UserError: a release is missing, or one of its lists cannot be read.
    """
    refuse_test_fraction(test_fraction, "the two data sets")
    with disk.directory(src) as root:
        listings = [(folder, part, layout.read(str(root / folder), None)) for layout, folder, part in RELEASES]
        return Listing(
            tuple(
                sample._replace(source=f"{folder}/{sample.source}", split=part)
                for folder, part, listing in listings
                for sample in listing
            ),
            tuple(name for _, _, listing in listings for name in listing.classes or ()),
            tuple(
                Corrupt(source=f"{folder}/{image.source}", reason=image.reason)
                for folder, _, listing in listings
                for image in listing.corrupt
            ),
            base=root,
            used=tuple(f"{folder}/{path}" for folder, _, listing in listings for path in listing.used),
        )


LAYOUT = register_layout(
    Layout(
        "cub_to_nabirds",
        "CUB-200-2011 for training and NABirds for testing, in the folders CUB_200_2011 and nabirds",
        looks_for="",
        recognize=lambda root: "",  # SRC could as well mean one of the two
        read=read_both,
        counts=PublishedCounts({"train": 11788, "test": 48562}, {"train": 200, "test": 555}),
        disjoint=True,
    )
)
