"""A cluster of several nodes on this machine, whose processes tests may kill."""

import logging
import socket
import sys
from collections.abc import Iterator

import pytest
import ray
from ray.cluster_utils import Cluster

from raysearch.engine.ray_internals import HEAD_HISTORY_LIMITS

from . import killing, small_task

# The head forgets after a soak's first minutes, so that the soak sees it forget.
_HEAD_LIMITS = {name: limit // 10 for name, limit in HEAD_HISTORY_LIMITS.items()}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without CPUs. RAY_ADDRESS names the cluster to Ray's processes, since others may run on this machine."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    address = f"{ray.util.get_node_ip_address()}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        patch.setenv("RAY_worker_maximum_startup_concurrency", "8")
        for name, limit in _HEAD_LIMITS.items():
            patch.setenv(name, str(limit))
        for name in ("ray.data", "ray.tune", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        ray_cluster = Cluster(
            initialize_head=True,
            shutdown_at_exit=False,
            head_node_args={"num_cpus": 0, "gcs_server_port": port, "include_dashboard": False},
        )
        assert ray_cluster.address == address
        try:
            yield ray_cluster
        finally:
            ray_cluster.shutdown()


@pytest.fixture(scope="module")
def nodes(cluster: Cluster) -> Iterator[killing.Nodes]:
    """Two nodes of one CPU, and this process as a driver."""
    # Workers cannot import these files, so their functions are pickled by value.
    ray.cloudpickle.register_pickle_by_value(small_task)
    beside = killing.Nodes(cluster)
    killing.connect(cluster)
    try:
        yield beside
    finally:
        ray.shutdown()
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[small_task.__name__])
