"""VegFru, the official release: 200 vegetables and 92 fruits, 160,731 photos.

Hou, Feng and Wang, "VegFru: A Domain-Specific Dataset for Fine-grained Visual Categorization", ICCV 2017. The release's
README describes the lists. Photos are in `veg200_images/<class>/` and `fru92_images/<class>/`;
`vegfru_list/vegfru_{train,val,test}.txt` have `<path> <label>`, labels 0 to 291.

Traps. `supvegfru_*.txt`, `veg200_lists/` and `fru92_lists/` label the same photos in other ways and are not read. Names
may contain spaces, so the label is the last word of a line. Some files are RGBA, palette or truncated. The first two
become RGB; a truncated one is corrupt, left out and named, where tolerant loaders would fill it up with gray. The
14,600 photos of val stay a part of their own; papers on hashing train on train (29,200) and do not use them.
"""

from pathlib import Path

from raysearch.core import UserError
from raysearch.data.layouts.layout import PublishedCounts, Signature, official_release, register_layout
from raysearch.data.layouts.listing import Listing, listing_from_lists
from raysearch.data.layouts.readers import disk, label_lists
from raysearch.data.shards import SPLITS

FOLDERS = ("veg200_images", "fru92_images")
LISTS = {split: f"vegfru_list/vegfru_{split}.txt" for split in SPLITS}


def list_samples(base: Path) -> Listing:
    """List the samples of vegfru/.

    Raises:
        UserError: a list that cannot be read.
    """
    lines = [line for split, file in LISTS.items() for line in _read_lines(base / file, split)]
    entries, classes, wrong = label_lists.name_labels(lines)
    return listing_from_lists(base, FOLDERS, entries, classes, wrong)


def _read_lines(path: Path, split: str) -> list[label_lists.Line]:
    lines = []
    for text in disk.read_lines(path):
        source, _, number = text.rpartition(" ")
        if not source or not number.isdigit():
            raise UserError(f"{path}: {text!r} is not a path and a label; is the file whole?")
        lines.append(label_lists.Line(source.strip(), int(number), split))
    return lines


LAYOUT = register_layout(
    official_release(
        "vegfru",
        "VegFru",
        (Signature((*LISTS.values(), *FOLDERS), ("", "vegfru", "VegFru")),),
        list_samples,
        PublishedCounts({"train": 29200, "val": 14600, "test": 116931}, dict.fromkeys(SPLITS, 292)),
    )
)
