"""What data sets look like on disk: one file a data set, from SRC to the list of its samples.

A sample's `source` is its path below the place where the data set begins, with forward slashes, whatever the machine.
To add a layout, write a file with its `LAYOUT` and name it in LAYOUTS.
"""

from raysearch.core.errors import UserError, nearest
from raysearch.data.layouts import (
    aircraft,
    cars,
    cifar_fs,
    cub,
    dogs,
    embedded,
    few_shot,
    food101,
    hf_parquet,
    miniimagenet,
    nabirds,
    own_images,
    tieredimagenet,
    vegfru,
    webdataset,
)
from raysearch.data.layouts.auto import detect
from raysearch.data.layouts.embedded import synthetic
from raysearch.data.layouts.few_shot import fewshot
from raysearch.data.layouts.layout import Layout, PublishedCounts
from raysearch.data.layouts.listing import Listing
from raysearch.data.layouts.own_images import folder

__all__ = [
    "AUTO",
    "LAYOUTS",
    "Layout",
    "Listing",
    "PublishedCounts",
    "detect",
    "fewshot",
    "find",
    "folder",
    "synthetic",
]

AUTO = "auto"
LAYOUTS: dict[str, Layout] = {
    "folder": own_images.LAYOUT,
    "fewshot": few_shot.LAYOUT,
    "cub": cub.LAYOUT,
    "aircraft": aircraft.LAYOUT,
    "nabirds": nabirds.LAYOUT,
    "vegfru": vegfru.LAYOUT,
    "food101": food101.LAYOUT,
    "dogs": dogs.LAYOUT,
    "cars": cars.LAYOUT,
    "miniimagenet": miniimagenet.LAYOUT,
    "tieredimagenet": tieredimagenet.LAYOUT,
    "cifar-fs": cifar_fs.LAYOUT,
    "webdataset": webdataset.LAYOUT,
    "parquet": hf_parquet.LAYOUT,
    "synthetic": embedded.LAYOUT,
}


def find(name: str, src: str) -> tuple[str, Layout, str]:
    """The layout of that name, and for `auto` the one that lies at SRC with the reason.

    Raises UserError: an unknown name (with the nearest), or what `detect` raises.
    """
    why = ""
    if name == AUTO:
        name, why = detect(src, LAYOUTS)
    if name not in LAYOUTS:
        raise UserError(f"unknown layout {name!r}{nearest(name, [*LAYOUTS, AUTO])}")
    return name, LAYOUTS[name], why
