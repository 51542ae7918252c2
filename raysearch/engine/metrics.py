"""What a cluster's Prometheus sees of a running study: Ray's own metrics, with labels of study and variant.

Ray exports them with the prefix `ray_`; the driver sets them, from what the workers report.
"""

from typing import Any

from ray.util.metrics import Counter, Gauge

from raysearch.engine.checkpoints import Objective
from raysearch.engine.jobs import Job, Listener

_LABELS = ("study", "variant")


class Metrics(Listener):
    """Counts cells and passes on what they report.

    Args:
        study: label of all.
        objective: the figure of a step's report of which the best is shown.
    """

    def __init__(self, study: str, objective: Objective | None) -> None:
        self._study, self._objective = study, objective
        self._counts = {"running": 0, "finished": 0, "failed": 0, "stopped": 0}
        self._best: dict[str, float] = {}
        self._running: set[str] = set()
        self._cells = Gauge("raysearch_cells", "Cells by status.", ("study", "status"))
        self._retries = Counter("raysearch_retries", "Cells begun again after a fault.", _LABELS)
        self._metric = Gauge("raysearch_best_metric", "Best held-out metric so far.", (*_LABELS, "metric"))
        self._speed = Gauge("raysearch_images_per_second", "Images a second of the last step.", _LABELS)
        self._wait = Gauge("raysearch_feed_wait_share", "Share of the last step spent waiting for images.", _LABELS)
        self._memory = Gauge("raysearch_gpu_memory_bytes", "Peak GPU memory of the last step.", _LABELS)
        self._seconds = Counter("raysearch_worker_seconds", "Seconds that ended cells took.", _LABELS)
        self._gpu_seconds = Counter("raysearch_gpu_seconds", "GPU seconds that ended cells took.", _LABELS)

    def started(self, job: Job) -> None:
        self._running.add(job.cell)
        self._count()

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        tags = self._tags(job)
        shown = {"images_per_second": self._speed, "feed_wait_share": self._wait, "gpu_memory_bytes": self._memory}
        for name, gauge in shown.items():
            if report.get(name) is not None:
                gauge.set(report[name], tags)
        if self._objective and report.get(self._objective.metric) is not None:
            value = report[self._objective.metric]
            if self._objective.better(value, self._best.get(job.variant)):
                self._best[job.variant] = value
                self._metric.set(value, tags | {"metric": self._objective.metric})

    def retried(self, job: Job, reason: str) -> None:
        self._retries.inc(1, self._tags(job))

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        self._running.discard(job.cell)
        self._counts[record["status"]] += 1
        self._count()
        for counter, name in ((self._seconds, "seconds"), (self._gpu_seconds, "gpu_seconds")):
            if record.get(name):  # a counter refuses to count nothing
                counter.inc(record[name], self._tags(job))

    def _count(self) -> None:
        self._counts["running"] = len(self._running)
        for status, count in self._counts.items():
            self._cells.set(count, {"study": self._study, "status": status})

    def _tags(self, job: Job) -> dict[str, str]:
        return {"study": self._study, "variant": job.variant}
