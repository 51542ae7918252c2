"""A head without CPUs and GPUs whose autoscaler may add GPU nodes: what a driver knows before the first one is there.

Ray's provider of nodes that are processes on this machine stands for a cloud, and resources by name for GPUs.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from ray.util.placement_group import placement_group_table

from raysearch.engine import devices, ray_internals
from raysearch.engine.cluster import connection
from raysearch.engine.cluster.capacity import Slots, TrialResources

from ...ray_settings import ray_settings
from ...study_json import read_study_json
from .. import sweeps
from ..heads import growing_head

NODE = {"CPU": 4, "GPU": 1}
NODES = 3


@pytest.mark.parametrize("version", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_driver_knows_the_nodes_that_may_come(tmp_path: Path, version: int) -> None:
    with (
        growing_head(tmp_path, NODE, NODES, version) as head,
        ray_settings(RAY_ADDRESS=head.address, RAY_AUTH_MODE="disabled"),  # as `ray job submit` tells a driver
    ):
        assert devices.resolve_gpus(None, None) == 1
        with connection.connected(None):
            assert Slots(TrialResources(gpus=1))() == NODES
            assert Slots(TrialResources(gpus=0.5))() == 2 * NODES
            autoscaler = ray_internals.autoscaler()
    assert autoscaler is not None
    ((resources, count),) = autoscaler.types
    assert (resources["CPU"], resources["GPU"]) == (4, 1)
    assert (count, autoscaler.max_nodes) == (NODES, NODES)


@pytest.mark.slow
def test_a_gpu_job_from_zero_nodes_waits_for_all_nodes_at_once(tmp_path: Path, tiny_data: Path) -> None:
    """It takes the paper's profile and a GPU per worker, though neither this machine nor the head has a GPU."""
    sweeps.prepare(tmp_path, tiny_data, iterations=2, variants=NODES, seeds=1)
    command = [sys.executable, "-m", "raysearch.sweep", str(tmp_path / "study.py"), "--data", str(tmp_path / "data")]
    command += ["--out", str(tmp_path / "out"), "--set", "model.backbone=small", "--set", "model.weights=none"]
    seconds = {"AUTOSCALER_UPDATE_INTERVAL_S": "45"}  # between two looks at the waiting groups
    with growing_head(tmp_path, NODE, NODES, settings=seconds) as head:
        environment = {**os.environ, "RAY_ADDRESS": head.address, "RAY_AUTH_MODE": "disabled"}
        with (tmp_path / "log").open("w") as log:
            driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            ray.init(head.address, log_to_driver=False)
            groups: list[dict[str, float]] = []
            deadline = time.monotonic() + 240
            while len(groups) < NODES:
                assert driver.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, f"only {groups} wait"
                alive = [node for node in ray.nodes() if node["Alive"]]
                assert len(alive) == 1, f"a node came while only {groups} waited"
                bundles = [group["bundles"].values() for group in placement_group_table().values()]
                groups = [bundle for group in bundles for bundle in group if bundle.get("GPU")]
                time.sleep(0.2)
            while len([node for node in ray.nodes() if node["Alive"]]) <= NODES:
                assert time.monotonic() < deadline, "not all nodes came"
                time.sleep(0.5)
        finally:
            ray.shutdown()
            if driver.poll() is None:
                sweeps.kill(driver)
    assert [bundle["GPU"] for bundle in groups] == [1] * NODES
    study = read_study_json(tmp_path / "out")
    assert study["profile"] == "paper"
    assert study["profile_reason"] == "Data was given and workers have GPUs of the cluster."
