"""NABirds, the official release (nabirds.tar.gz): 555 visual categories of North American birds, 48,562 photos.

Van Horn et al., "Building a bird recognition app and large scale dataset with citizen scientists", CVPR 2015; the lists
are described in the release's README, and in `id_lists`.

Traps. Class ids have holes: 555 of some thousand nodes of `hierarchy.txt` have photos, and `classes.txt` names all
nodes, so labels are the ranks of the ids that occur. Image ids are UUIDs with hyphens, file names without. Names hold
spaces, commas, slashes and brackets, and an inner node may be called as its leaf is: a class is called by its id and
its name ("0817.Red-winged Blackbird (Male)"), of which lists of classes write the id alone.
"""

from pathlib import Path

from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.readers import id_lists


def listing(base: Path) -> Listing:
    """Samples of nabirds/."""
    return id_lists.listing(
        base, folder=lambda number, name: number.zfill(4), name=lambda number, name: f"{number.zfill(4)}.{name}"
    )


LAYOUT = official_release(
    "NABirds",
    (Signature((*id_lists.LISTS, "hierarchy.txt", "images"), ("", "nabirds")),),
    listing,
    PublishedCounts({"train": 23929, "test": 24633}, {"train": 555, "test": 555}),
    id_lists.boxes,
)
