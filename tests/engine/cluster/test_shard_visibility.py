"""Shards that lie on the driver's machine alone: who does not see them is found out, and images are decoded here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from raysearch.core import UserError
from raysearch.data import feed, synthetic
from raysearch.data.feed_mode import FeedMode
from raysearch.engine.cluster import image_placement as engine_images
from raysearch.engine.cluster import shard_visibility
from raysearch.engine.options import Options
from raysearch.storage import Location
from raysearch.studies.configs import Images

from .. import killing
from ..contexts import make_context, place_images

SPEC = synthetic.SyntheticSpec(classes=3, train_per_class=4, test_per_class=2, side=24)
SIZE = Images(24, 1.0, None)


@pytest.fixture
def node(cluster: Cluster) -> Iterator[str]:
    """The address of a node beside the driver's."""
    killing.connect(cluster)
    made = cluster.add_node(num_cpus=1, include_dashboard=False)
    try:
        yield made.node_ip_address
    finally:
        ray.shutdown()
        cluster.remove_node(made)


def elsewhere(asked: Callable[..., ray.ObjectRef]) -> Callable[..., ray.ObjectRef]:
    """Asks a node for a path that it has not, as one with a disk of its own."""
    return lambda node, path: asked(node, path.parent / "nowhere" / path.name)


def provided(directory: Path, feed: FeedMode) -> dict[Images, engine_images.PlacedImages]:
    context = make_context(directory, options=Options(feed=feed))
    return place_images([SIZE], context)


def test_images_come_from_where_they_are_seen(node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = synthetic.ensure_shards(SPEC, tmp_path)
    assert shard_visibility.nodes_without(Location.parse(directory)) == []
    (by_all,) = (kept.open() for kept in provided(directory, FeedMode.resident).values())
    monkeypatch.setattr(shard_visibility, "_read_on", elsewhere(shard_visibility._read_on))
    assert shard_visibility.nodes_without(Location.parse(directory)) == [node]
    with monkeypatch.context() as patch:
        patch.setattr(feed.RayDataDecoder, "__call__", None)  # it would fail there
        (here,) = (kept.open() for kept in provided(directory, FeedMode.resident).values())
    for split in ("train", "test"):
        assert (here[split].images == by_all[split].images).all()
    with pytest.raises(UserError, match=rf"cannot be streamed .*: {directory} does not exist on {node}; put it in a"):
        provided(directory, FeedMode.streamed)
