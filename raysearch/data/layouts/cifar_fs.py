"""CIFAR-FS: the 100 classes of CIFAR-100, 64 for training, 16 for validation, 20 for testing, 600 images of 32 px each.

Bertinetto, Henriques, Torr and Vedaldi, "Meta-learning with differentiable closed-form solvers", ICLR 2019. The release
(cifar100.zip) has `data/<class>/*.png` and the class names of each part in `splits/bertinetto/{train,val,test}.txt`.
Others repacked it as `meta-train/<class>/`, `meta-val/` and `meta-test/`, or as `train/`, `val/` and `test/`.

Traps. FC100 divides the same classes by superclass: the same names in other parts. `splits/` may contain other
partitions, which are not read. PNG files become JPEG here, of quality 95 with color at full resolution.
"""

from pathlib import Path

from raysearch.core import UserError
from raysearch.data.layouts.layout import Layout, PublishedCounts, Signature, official_release, register_layout
from raysearch.data.layouts.listing import ListEntry, Listing, listing_from_lists
from raysearch.data.layouts.readers import disk, known_parts
from raysearch.data.shards import SPLITS

NAME = "cifar-fs"
LISTS = {split: f"splits/bertinetto/{split}.txt" for split in SPLITS}
COUNTS = PublishedCounts({"train": 38400, "val": 9600, "test": 12000}, {"train": 64, "val": 16, "test": 20})


def list_samples(base: Path) -> Listing:
    """List the samples of the release's cifar100/.

    Raises:
        UserError: a list that cannot be read, or a class in two parts or in another part than published.
    """
    parts: dict[str, str] = {}
    for split, file in LISTS.items():
        for label in disk.read_lines(base / file):
            if (first := parts.setdefault(label, split)) != split:
                raise UserError(f"{base / file}: class {label!r} is in {split} and in {first}; a class has one part")
    known_parts.check_parts(NAME, "CIFAR-FS", parts)
    folders = disk.class_folders(base, "data/")
    entries = [
        ListEntry(source, label, parts[label])
        for label, sources in folders.items()
        if label in parts
        for source in sources
    ]
    return listing_from_lists(base, ["data"], entries)


def _either_form(released: Layout, repacked: Layout) -> Layout:
    def _read(src: str, test_fraction: float | None) -> Listing:
        with disk.directory(src) as root:
            form = released if released.recognize(root) else repacked
        return form.read(src, test_fraction)

    return Layout(
        name=NAME,
        about=repacked.about,
        looks_for=f"{released.looks_for}, or {repacked.looks_for}",
        recognize=lambda root: released.recognize(root) or repacked.recognize(root),
        read=_read,
        counts=COUNTS,
        refines="fewshot",
        disjoint=True,
    )


LAYOUT = register_layout(
    _either_form(
        official_release(
            NAME, "CIFAR-FS", (Signature((*LISTS.values(), "data"), ("", "cifar100")),), list_samples, COUNTS
        ),
        known_parts.known_parts_layout(NAME, "CIFAR-FS", COUNTS),
    )
)
