"""How data sets are arranged on disk: one file per data set, which turns SRC into a list of samples.

A sample's `source` is its path below the root of the data set, with forward slashes on every machine. To add a layout,
write a file in this folder with `LAYOUT = register_layout(Layout(...))`. Outside the package, an extension uses the
decorator `raysearch.extend.layout`.
"""

import importlib
import pkgutil

from raysearch.data.layouts.auto import AUTO, detect_layout, find_layout
from raysearch.data.layouts.few_shot import read_fewshot
from raysearch.data.layouts.layout import (
    LAYOUTS,
    Layout,
    PublishedCounts,
    ReadOptions,
    layout,
    official_release,
    register_layout,
)
from raysearch.data.layouts.listing import ListEntry, Listing, listing_from_lists
from raysearch.data.layouts.own_images import read_folder
from raysearch.data.layouts.reading import read_source

__all__ = [
    "AUTO",
    "BUILT_IN",
    "LAYOUTS",
    "Layout",
    "ListEntry",
    "Listing",
    "PublishedCounts",
    "ReadOptions",
    "detect_layout",
    "find_layout",
    "layout",
    "listing_from_lists",
    "official_release",
    "read_fewshot",
    "read_folder",
    "read_source",
    "register_layout",
]


def _import_layouts() -> tuple[Layout, ...]:
    """Import the modules of this folder, so that each registers its layout; return the layouts, sorted by name."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    layouts = [module.LAYOUT for module in modules if hasattr(module, "LAYOUT")]
    return tuple(sorted(layouts, key=lambda layout: layout.name))


BUILT_IN = _import_layouts()
