"""What a cluster's Prometheus and its State API see of a study, asked of a real head as they ask it."""

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.state import list_tasks

from raysearch.engine.cluster import connection
from raysearch.engine.monitoring.prometheus import MAX_VARIANTS, OTHER_VARIANTS, PersistentGauges, StudyMetrics
from raysearch.engine.trials import mailbox
from raysearch.engine.trials.jobs import Job, Objective
from raysearch.engine.trials.mailbox import Reply, Step

prometheus = pytest.importorskip("prometheus_client.parser")

JOBS = [Job(f"cell{i}", f"regions={i} seed 0", {}, 0, f"regions={i}") for i in range(4)]
OBJECTIVE = Objective("map_validation", "max")


@pytest.fixture(scope="module")
def joined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """This process as the driver of a head with a dashboard, which the State API asks."""
    port = connection.free_port()
    address = f"{ray.util.get_node_ip_address()}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        head = {
            "num_cpus": 1,
            "gcs_server_port": port,
            "include_dashboard": True,
            "dashboard_port": connection.free_port(),
        }
        made = Cluster(initialize_head=True, head_node_args=head)
        try:
            with connection.connected(address):
                yield made
        finally:
            made.shutdown()


@pytest.fixture
def gauges() -> Iterator[PersistentGauges]:
    with PersistentGauges() as held:
        yield held


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


def test_prometheus_reads_what_happened(joined: Cluster, gauges: PersistentGauges) -> None:
    metrics = StudyMetrics("erasing", OBJECTIVE, gauges)
    before = time.time()
    metrics.set_plan(done=2, total=7)
    for job in JOBS:
        metrics.started(job)
    for value in (0.5, 0.75, 0.25):
        report = {
            "iteration": 1,
            "map_validation": value,
            "images_per_second": 100 * value,
            "feed_wait_share": value / 5,
            "seconds": 2.0,
            "epochs": 3,
        }
        metrics.stepped(JOBS[0], report, 4)
    metrics.stepped(JOBS[1], {"iteration": 1, "gpu_memory_bytes": 12345.0}, 4)
    metrics.retried(JOBS[1], "the worker died")
    metrics.retried(JOBS[1], "the worker died")
    last = {"iteration": 4, "map_validation": 0.5, "seconds": 1.0, "epochs": 2}
    for job, status in zip(JOBS, ("finished", "failed", "stopped"), strict=False):
        history = json.dumps([{"iteration": 1, "seconds": 100.0}, last])
        metrics.ended(job, {"status": status, "seconds": 7.5, "gpu_seconds": 0.0, "history": history})
    elsewhere = Job("cell9", "regions=9 seed 0", {}, 0, "regions=9")
    metrics.ended(elsewhere, {"status": "finished", "seconds": 99.0, "gpu_seconds": 99.0})
    until_equal(
        {
            ("cells", "erasing running"): 1,
            ("cells", "erasing found"): 3,
            ("cells", "erasing finished"): 1,
            ("cells", "erasing failed"): 1,
            ("cells", "erasing stopped"): 1,
            ("best_metric", "erasing regions=0 map_validation"): 0.75,
            ("images_per_second", "erasing regions=0"): 25,
            ("feed_wait_share", "erasing regions=0"): 0.05,
            ("gpu_memory_bytes", "erasing regions=1"): 12345,
            ("retries_total", "erasing regions=1"): 2,
            ("worker_seconds_total", "erasing regions=2"): 7.5,
            ("cells_planned", "erasing"): 7,
            ("ended_cells_total", "erasing regions=1 failed"): 1,
            # Three steps that were told, one that came with the end of the finished cell, and one that says little.
            ("epochs_total", "erasing"): 3 * 3 + 2 + 1,
            ("step_seconds_total", "erasing"): 3 * 2.0 + 1.0,
            ("images_total", "erasing"): 2 * (50 + 75 + 25),
            ("feed_wait_seconds_total", "erasing"): 2 * (0.1 + 0.15 + 0.05),
        }
    )
    found = scraped()
    for name in ("last_end_timestamp_seconds", "last_step_timestamp_seconds"):
        assert before <= found[name, "erasing"] <= time.time()
    assert ("gpu_memory_bytes", "erasing regions=0") not in found, "a CPU has no GPU memory"
    assert ("worker_seconds_total", "erasing regions=9") not in found, "the driver that ran it says what it cost"


def test_a_search_of_many_configs_has_few_series(joined: Cluster, gauges: PersistentGauges) -> None:
    """Whatever the number of variants, Prometheus is given so many labels; figures of the rest share one."""
    metrics = StudyMetrics("broad", OBJECTIVE, gauges)
    metrics.set_plan(done=0, total=MAX_VARIANTS + 50)
    for number in range(MAX_VARIANTS + 50):
        job = Job(f"cell{number}", f"config {number} seed 0", {}, 0, f"config {number}")
        metrics.started(job)
        metrics.ended(job, {"status": "finished", "seconds": 2.0, "gpu_seconds": 0.0})
    shared = Job("cell", "config 7 seed 0", {}, 0, "config 7", series="config 0")
    metrics.started(shared)
    metrics.ended(shared, {"status": "finished", "seconds": 3.0, "gpu_seconds": 0.0})
    until_equal(
        {
            ("worker_seconds_total", "broad config 0"): 5.0,
            ("worker_seconds_total", "broad config 99"): 2.0,
            ("worker_seconds_total", f"broad {OTHER_VARIANTS}"): 100.0,
            ("cells", "broad finished"): MAX_VARIANTS + 51,
        }
    )
    assert (
        sum(name == "worker_seconds_total" and shown.startswith("broad ") for name, shown in scraped())
        == MAX_VARIANTS + 1
    )


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


def test_a_figure_that_does_not_change_is_seen_until_the_end(joined: Cluster) -> None:
    """Ray forgets a gauge two seconds after it was set here, and 20 where its reports come as seldom as usual."""
    gauges = PersistentGauges()
    metrics = StudyMetrics("waiting", OBJECTIVE, gauges)
    with gauges:
        metrics.set_plan(done=0, total=3)
        until_equal({("cells_planned", "waiting"): 3})
        end = time.monotonic() + 8
        while time.monotonic() < end:
            assert scraped()["cells_planned", "waiting"] == 3
            time.sleep(0.5)
    deadline = time.monotonic() + 60
    while ("cells_planned", "waiting") in scraped():
        assert time.monotonic() < deadline, "a sweep that has ended is still seen"
        time.sleep(0.5)


class Shown:
    """A gauge that keeps all it was set to."""

    def __init__(self, into: list[float]) -> None:
        self.info, self.set = {"name": "shown"}, lambda value, tags: into.append(value)


def test_the_best_is_by_the_objective() -> None:
    """Against the plain way to find it, without a cluster."""
    for mode, best in (("max", max), ("min", min)):
        shown: list[float] = []
        metrics = StudyMetrics("study", Objective("loss", mode), PersistentGauges())
        metrics._metric = Shown(shown)
        values = [3.0, 5.0, 1.0, 4.0, 0.5, 6.0]
        for count, value in enumerate(values, 1):
            metrics.stepped(JOBS[0], {"loss": value}, 6)
            assert shown[-1] == best(values[:count])
