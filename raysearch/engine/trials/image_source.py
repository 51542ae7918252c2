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
class ImageSource:
    """Where a worker's images come from."""

    sets: dict[Images, PlacedImages]
    content_hash: str  # the data set's
    cache: Path  # folder of files that any process may share
    splits: dict[Images, str] = field(default_factory=dict)  # name and hash of a class-disjoint split

    def feed(self, config: Mapping[str, Any]) -> "Feed":
        """Return the images that a cell's config asks for. Close them after the cell."""
        from raysearch.tasks.base import Feed

        data = config["data"]
        key = Images(data["side"], data["zoom"], data.get("split"))
        images = self.sets[key].open()
        return Feed(**images, content_hash=self.content_hash, split=self.splits.get(key, ""))
