"""NABirds, the official release (nabirds.tar.gz): 555 visual categories of North American birds, 48,562 photos.

Van Horn et al., "Building a bird recognition app and large scale dataset with citizen scientists", CVPR 2015. The
release's README and `readers.id_lists` describe the lists.

Traps. Class ids have gaps: 555 of some thousand nodes of `hierarchy.txt` have photos, and `classes.txt` names all
nodes, so labels are the ranks of the ids that occur. Image ids are UUIDs with hyphens, file names have none. Names
contain spaces, commas, slashes and brackets, and an inner node may have the same name as its leaf. So a class name here
is the id with the name ("0817.Red-winged Blackbird (Male)"); lists of classes write the id alone.
"""

from pathlib import Path

from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release, register_layout
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import id_lists


def list_samples(base: Path) -> Listing:
    """List the samples of nabirds/.

    Raises:
        UserError: a list that is missing or cannot be read.
    """
    return id_lists.list_samples(
        base, folder=lambda number, name: number.zfill(4), name=lambda number, name: f"{number.zfill(4)}.{name}"
    )


LAYOUT = register_layout(
    official_release(
        "nabirds",
        "NABirds",
        (Signature((*id_lists.LISTS, "hierarchy.txt", "images"), ("", "nabirds")),),
        list_samples,
        PublishedCounts({"train": 23929, "test": 24633}, {"train": 555, "test": 555}),
        id_lists.read_boxes,
        annotations=("bounding_boxes.txt",),
    )
)
