"""Where a worker's images come from, as driver and trial actors hand it on. Neither of them imports torch for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch.engine.cluster.image_placement import PlacedImages
from raysearch.studies.configs import Images

if TYPE_CHECKING:
    from raysearch.tasks.base import Feed


@dataclass(frozen=True)
class PlacedDataSet:
    """The images of a data set, by size and split."""

    images: Mapping[Images, PlacedImages]
    content_hash: str  # the data set's
    splits: Mapping[Images, str] = field(default_factory=dict)  # name and hash of a class-disjoint split

    def feed(self, config: Mapping[str, Any]) -> "Feed":
        """Return the images that a cell's config asks for. Close them after the cell."""
        from raysearch.tasks.base import Feed

        data = config["data"]
        key = Images(data["side"], data["zoom"], data.get("split"))
        images = self.images[key].open()
        return Feed(**images, content_hash=self.content_hash, split=self.splits.get(key, ""))


@dataclass(frozen=True)
class ImageSource:
    """Where a worker's images come from."""

    sets: Mapping[str | None, PlacedDataSet]  # by name; a single data set has the name None
    cache: Path  # folder of files that any process may share

    def feed(self, data_set: str | None, config: Mapping[str, Any]) -> "Feed | None":
        """Return the images of a cell; None for a task that loads its own. Close them after the cell."""
        placed = self.sets[data_set]
        return placed.feed(config) if placed.images else None
