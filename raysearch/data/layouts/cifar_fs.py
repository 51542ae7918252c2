"""CIFAR-FS: the 100 classes of CIFAR-100, 64 to learn from, 16 to choose on, 20 to test on, 600 images of 32 px each.

Bertinetto, Henriques, Torr and Vedaldi, "Meta-learning with differentiable closed-form solvers", ICLR 2019. The release
(cifar100.zip) has `data/<class>/*.png` and the class names of each part in `splits/bertinetto/{train,val,test}.txt`;
others repacked it as `meta-train/<class>/`, `meta-val/` and `meta-test/`, or as `train/`, `val/` and `test/`.

Traps. FC100 parts the same classes by superclass: the same names in other parts. `splits/` may hold other partitions,
which are not read. PNG files become JPEG here, of quality 95 with colour at full resolution.
"""

from pathlib import Path

from raysearch.core.errors import UserError
from raysearch.data.layouts.layout import Layout, PublishedCounts, Signature, official_release
from raysearch.data.layouts.listing import ListEntry, Listing, listing_from_lists
from raysearch.data.layouts.readers import disk, known_parts
from raysearch.data.shards import SPLITS

LISTS = {split: f"splits/bertinetto/{split}.txt" for split in SPLITS}
COUNTS = PublishedCounts({"train": 38400, "val": 9600, "test": 12000}, {"train": 64, "val": 16, "test": 20})


def listing(base: Path) -> Listing:
    """Samples of the release's cifar100/."""
    parts: dict[str, str] = {}
    for split, file in LISTS.items():
        for label in disk.lines(base / file):
            if (first := parts.setdefault(label, split)) != split:
                raise UserError(f"{base / file}: class {label!r} is in {split} and in {first}; a class has one part")
    known_parts.check("cifar-fs", "CIFAR-FS", parts)
    folders = disk.class_folders(base, "data/")
    entries = [
        ListEntry(source, label, parts[label])
        for label, sources in folders.items()
        if label in parts
        for source in sources
    ]
    return listing_from_lists(base, ["data"], entries)


def _both(released: Layout, repacked: Layout) -> Layout:
    def read(src: str, test_fraction: float | None) -> Listing:
        with disk.directory(src) as root:
            form = released if released.recognise(root) else repacked
        return form.read(src, test_fraction)

    return Layout(
        about=repacked.about,
        looks_for=f"{released.looks_for}, or {repacked.looks_for}",
        recognise=lambda root: released.recognise(root) or repacked.recognise(root),
        read=read,
        counts=COUNTS,
        refines="fewshot",
        disjoint=True,
    )


LAYOUT = _both(
    official_release("CIFAR-FS", (Signature((*LISTS.values(), "data"), ("", "cifar100")),), listing, COUNTS),
    known_parts.layout("cifar-fs", "CIFAR-FS", COUNTS),
)
