"""Small networks and float64 arithmetic, as the tests of tasks have them, and the manifest of a data set."""

from collections.abc import Sequence

from raysearch.data.shards import Manifest

from ..tasks.conftest import double, tiny, tiny_taps

__all__ = ["double", "empty_manifest", "tiny", "tiny_taps"]


def empty_manifest(classes: Sequence[str], side: int) -> Manifest:
    """Return the manifest of a data set with these classes and no images."""
    return Manifest(
        name="colours",
        layout="folder",
        classes=tuple(classes),
        counts={},
        images=0,
        width=(side, side),
        height=(side, side),
        content_hash="hash of the data",
        versions={},
        shards=(),
    )
