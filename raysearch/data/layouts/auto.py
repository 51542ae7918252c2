"""`auto`: which layout lies at SRC, by what is there, and said in a line.

Every layout looks for its own signs. One that fits is taken; of a layout and a wider one that fits whatever it fits
(miniImageNet and any few-shot lists) the narrower. Two that fit are for the user to choose from. Folders of images with
no other sign are class folders.
"""

from collections.abc import Mapping

from raysearch.core.errors import UserError
from raysearch.data.layouts import own_images
from raysearch.data.layouts.layout import Layout
from raysearch.data.layouts.readers import disk
from raysearch.data.shards import MANIFEST


def detect(src: str, layouts: Mapping[str, Layout]) -> tuple[str, str]:
    """Name of the layout, and why.

    Raises UserError: no directory, shards already, several layouts that fit (each with its signs), none (with what was
    looked for).
    """
    with disk.directory(src) as root:
        if (root / MANIFEST).is_file():
            raise UserError(f"SRC {src} is a data set of shards already ({MANIFEST}); it needs no ingest")
        found = {name: why for name, layout in layouts.items() if (why := layout.recognise(root))}
        wider = {layouts[name].refines for name in found}
        found = {name: why for name, why in found.items() if name not in wider}
        if not found and (why := own_images.recognise_plain(root)):
            return "folder", why
    if len(found) > 1:
        several = "; ".join(f"{name} ({why})" for name, why in found.items())
        raise UserError(f"SRC {src} may be {several}; say which in place of auto")
    if not found:
        known = "; ".join(f"{name} ({layout.looks_for})" for name, layout in layouts.items() if layout.looks_for)
        raise UserError(f"SRC {src} is no layout that auto knows. It looked for: {known}")
    return next(iter(found.items()))
