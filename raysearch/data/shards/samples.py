"""Samples: images that are not read yet, and their canonical order once they are known to fit together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from raysearch.core.errors import UserError, nearest
from raysearch.data.shards.jpeg import Box
from raysearch.data.shards.loaders import Loader, MissingImage, ReshapingLoader
from raysearch.data.shards.manifest import SPLITS


class Sample(NamedTuple):
    """An image that is not read yet; `load()` returns the bytes of an image file in any format Pillow knows.

    Loaders of `raysearch.data.shards.loaders` travel between processes.
    """

    source: str
    label: str
    split: str
    load: Loader


def canonical_order(samples: Iterable[Sample], classes: Sequence[str] | None) -> tuple[list[Sample], dict[str, int]]:
    """The samples in canonical order, by (label, source), and class name -> label.

    Args:
        samples: in any order.
        classes: class names in label order; None: sorted names of the samples'.

    Raises:
        UserError: a class given twice, a sample listed twice or with an unknown class or split, or a name that is no
            UTF-8.
    """
    found = list(samples)
    names = tuple(classes if classes is not None else sorted({sample.label for sample in found}))
    labels = {name: label for label, name in enumerate(names)}
    if len(labels) != len(names):
        raise UserError("a class name is given twice")
    seen: set[str] = set()
    for sample in found:
        if sample.label not in labels:
            raise UserError(f"{sample.source}: unknown class {sample.label!r}{nearest(sample.label, names)}")
        if sample.split not in SPLITS:
            raise UserError(f"{sample.source}: unknown split {sample.split!r}{nearest(sample.split, SPLITS)}")
        if sample.source in seen:
            raise UserError(f"{sample.source} is listed twice")
        try:
            sample.source.encode()
        except UnicodeEncodeError:
            raise UserError(f"the file name {sample.source!a} is not UTF-8; rename it") from None
        seen.add(sample.source)
    return sorted(found, key=lambda sample: (labels[sample.label], sample.source)), labels


def reshape_samples(samples: Iterable[Sample], boxes: Mapping[str, Box] | None, side: int | None) -> list[Sample]:
    """The samples cropped and resized as they are loaded; with boxes, an image that has none is corrupt."""

    def changed(sample: Sample) -> Loader:
        if boxes is not None and sample.source not in boxes:
            return MissingImage("the data set has no bounding box of it")
        return ReshapingLoader(sample.load, boxes[sample.source] if boxes is not None else None, side)

    return [sample._replace(load=changed(sample)) for sample in samples]
