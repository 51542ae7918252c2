"""What a cluster's Prometheus and its State API see of a study, asked of a real head as they ask it."""

import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.state import list_tasks

from raysearch.engine import cluster, mailbox
from raysearch.engine.checkpoints import Objective
from raysearch.engine.jobs import Job
from raysearch.engine.mailbox import Reply, Step
from raysearch.engine.metrics import Metrics

prometheus = pytest.importorskip("prometheus_client.parser")

JOBS = [Job(f"cell{i}", f"regions={i} seed 0", {}, 0, f"regions={i}") for i in range(4)]
OBJECTIVE = Objective("map_validation", "max")


@pytest.fixture(scope="module")
def joined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """This process as the driver of a head with a dashboard, which the State API asks."""
    port = cluster.free_port()
    address = f"{ray.util.get_node_ip_address()}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        head = {
            "num_cpus": 1,
            "gcs_server_port": port,
            "include_dashboard": True,
            "dashboard_port": cluster.free_port(),
        }
        made = Cluster(initialize_head=True, head_node_args=head)
        try:
            with cluster.connected(address):
                yield made
        finally:
            made.shutdown()


def scraped() -> dict[tuple[str, str], float]:
    """Values of the study's metrics by (name, labels), as a Prometheus on this node would read them."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    found = {}
    for family in prometheus.text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("ray_raysearch_"):
                labels = {name: sample.labels.get(name) for name in ("study", "variant", "status", "metric")}
                shown = " ".join(value for value in labels.values() if value)
                found[sample.name.removeprefix("ray_raysearch_"), shown] = sample.value
    return found


def until_equal(wanted: dict[tuple[str, str], float], seconds: float = 60) -> None:
    """Wait until the metrics have come from this process through the node's agent."""
    deadline = time.monotonic() + seconds
    while True:
        found = scraped()
        if all(found.get(key) == pytest.approx(value) for key, value in wanted.items()):
            return
        assert time.monotonic() < deadline, {key: (value, found.get(key)) for key, value in wanted.items()}
        time.sleep(0.5)


def test_prometheus_reads_what_happened(joined: Cluster) -> None:
    metrics = Metrics("erasing", OBJECTIVE)
    for job in JOBS:
        metrics.started(job)
    for value in (0.5, 0.75, 0.25):
        report = {
            "iteration": 1,
            "map_validation": value,
            "images_per_second": 100 * value,
            "feed_wait_share": value / 5,
        }
        metrics.stepped(JOBS[0], report, 4)
    metrics.stepped(JOBS[1], {"iteration": 1, "gpu_memory_bytes": 12345.0}, 4)
    metrics.retried(JOBS[1], "the worker died")
    metrics.retried(JOBS[1], "the worker died")
    for job, status in zip(JOBS, ("finished", "failed", "stopped"), strict=False):
        metrics.ended(job, {"status": status, "seconds": 7.5, "gpu_seconds": 0.0})
    until_equal(
        {
            ("cells", "erasing running"): 1,
            ("cells", "erasing finished"): 1,
            ("cells", "erasing failed"): 1,
            ("cells", "erasing stopped"): 1,
            ("best_metric", "erasing regions=0 map_validation"): 0.75,
            ("images_per_second", "erasing regions=0"): 25,
            ("feed_wait_share", "erasing regions=0"): 0.05,
            ("gpu_memory_bytes", "erasing regions=1"): 12345,
            ("retries_total", "erasing regions=1"): 2,
            ("worker_seconds_total", "erasing regions=2"): 7.5,
        }
    )
    assert ("gpu_memory_bytes", "erasing regions=0") not in scraped(), "a CPU has no GPU memory"


def test_the_dashboard_says_variant_and_seed(joined: Cluster) -> None:
    """The task that waits for a trial's step has the trial's name: in the dashboard and in `ray list tasks`."""
    box: Any = mailbox.Mailbox.remote(1)  # type: ignore[attr-defined]
    answer = box.ask.options(name=JOBS[3].name).remote(Step())
    box.exchange.remote(0, 1, None)
    deadline = time.monotonic() + 60
    while not any(task.state == "RUNNING" for task in list_tasks(filters=[("name", "=", JOBS[3].name)], timeout=30)):
        assert time.monotonic() < deadline, "no running task has the trial's name"
        time.sleep(0.5)
    box.exchange.remote(0, 2, Reply({}))
    assert ray.get(answer, timeout=30) == Reply({})


def test_the_best_is_by_the_objective() -> None:
    """Against the plain way to find it, without a cluster."""
    for mode, best in (("max", max), ("min", min)):
        metrics, shown = Metrics("study", Objective("loss", mode)), []
        metrics._metric = type("Gauge", (), {"set": lambda self, value, tags, into=shown: into.append(value)})()
        values = [3.0, 5.0, 1.0, 4.0, 0.5, 6.0]
        for count, value in enumerate(values, 1):
            metrics.stepped(JOBS[0], {"loss": value}, 6)
            assert shown[-1] == best(values[:count])
