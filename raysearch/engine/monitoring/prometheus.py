"""What a cluster's Prometheus sees of a running study: Ray's own metrics, with labels of study and variant.

Ray exports them with the prefix `ray_`, counters also with the suffix `_total`; the driver sets them, from what the
workers report. `dashboards/grafana` shows them, and `dashboards/prometheus` watches over them.

Every pair of labels is a time series that Prometheus keeps for the whole run. So a search's configs, of which each is a
variant of its own, share one label, and of an ablation's variants those past a limit share another; what only adds up
bears the study's name alone.
"""

import json
import time
from typing import Any

from ray.util.metrics import Counter, Gauge

from raysearch.engine.monitoring.gauges import Gauges
from raysearch.engine.monitoring.labels import Labels
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.runs.checkpoints import Objective

_LABELS = ("study", "variant")


class StudyMetrics(Listener):
    """Counts cells and passes on what they report.

    Args:
        study: label of all.
        objective: the figure of a step's report of which the best is shown.
        gauges: sets them, for as long as figures should be seen.
    """

    def __init__(self, study: str, objective: Objective | None, gauges: Gauges) -> None:
        self._study, self._objective, self._set = {"study": study}, objective, gauges.set
        # "found" are cells that had ended before, or that another driver ran; of two drivers the other counts add up.
        self._counts = {"found": 0, "running": 0, "finished": 0, "failed": 0, "stopped": 0}
        self._best: dict[str, float] = {}
        self._running: set[str] = set()
        self._variants = Labels()
        self._cells = Gauge("raysearch_cells", "Cells by status.", ("study", "status"))
        self._planned = Gauge("raysearch_cells_planned", "Cells that there will be.", ("study",))
        self._ended = Counter("raysearch_ended_cells", "Cells that ended, by how.", (*_LABELS, "status"))
        self._retries = Counter("raysearch_retries", "Cells begun again after a fault.", _LABELS)
        self._metric = Gauge("raysearch_best_metric", "Best held-out metric so far.", (*_LABELS, "metric"))
        self._speed = Gauge("raysearch_images_per_second", "Images a second of the last step.", _LABELS)
        self._episodes = Gauge("raysearch_episodes_per_second", "Few-shot episodes a second of the last step.", _LABELS)
        self._wait = Gauge("raysearch_feed_wait_share", "Share of the last step spent waiting for images.", _LABELS)
        self._memory = Gauge("raysearch_gpu_memory_bytes", "Peak GPU memory of the last step.", _LABELS)
        self._seconds = Counter("raysearch_worker_seconds", "Seconds that ended cells took.", _LABELS)
        self._gpu_seconds = Counter("raysearch_gpu_seconds", "GPU seconds that ended cells took.", _LABELS)
        self._cost = Gauge("raysearch_cost_dollars", "Dollars that all nodes have cost so far.", ("study",))
        self._images = Counter("raysearch_images", "Images trained on.", ("study",))
        self._epochs = Counter("raysearch_epochs", "Epochs done.", ("study",))
        self._step_seconds = Counter("raysearch_step_seconds", "Seconds that steps took.", ("study",))
        self._wait_seconds = Counter(
            "raysearch_feed_wait_seconds", "Seconds of steps spent waiting for images.", ("study",)
        )
        self._last_end = Gauge(
            "raysearch_last_end_timestamp_seconds", "When a cell last ended; before the first, the begin.", ("study",)
        )
        self._last_step = Gauge(
            "raysearch_last_step_timestamp_seconds", "When a step last ended; before the first, the begin.", ("study",)
        )

    def cost(self, dollars: float) -> None:
        """Say what all nodes have cost so far."""
        self._set(self._cost, dollars, self._study)

    def begin(self, done: int, total: int) -> None:
        """Say what lies ahead.

        Args:
            done: cells that had ended before, of `total`.
            total: cells that there will be.
        """
        self._counts["found"] = done
        self._set(self._planned, total, self._study)
        self._set(self._last_end, time.time(), self._study)
        self._set(self._last_step, time.time(), self._study)
        self._count()

    def started(self, job: Job) -> None:
        self._running.add(job.cell)
        self._count()

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        tags = self._tags(job)
        shown = {
            "images_per_second": self._speed,
            "episodes_per_second": self._episodes,
            "feed_wait_share": self._wait,
            "gpu_memory_bytes": self._memory,
        }
        for name, gauge in shown.items():
            if report.get(name) is not None:
                self._set(gauge, report[name], tags)
        self._add_up(report)
        self._set(self._last_step, time.time(), self._study)
        if self._objective and report.get(self._objective.metric) is not None:
            value = report[self._objective.metric]
            if self._objective.better(value, self._best.get(tags["variant"])):
                self._best[tags["variant"]] = value
                self._set(self._metric, value, tags | {"metric": self._objective.metric})

    def retried(self, job: Job, reason: str) -> None:
        self._retries.inc(1, self._tags(job))

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        here = job.cell in self._running
        self._running.discard(job.cell)
        self._counts[record["status"] if here else "found"] += 1
        self._count()
        self._set(self._last_end, time.time(), self._study)
        if not here:
            return
        self._ended.inc(1, self._tags(job) | {"status": record["status"]})
        history = json.loads(record.get("history", "[]"))
        if record["status"] == "finished" and history:  # its last step comes with its end
            self.stepped(job, history[-1], len(history))
        _count_up(self._seconds, record.get("seconds"), self._tags(job))
        _count_up(self._gpu_seconds, record.get("gpu_seconds"), self._tags(job))

    def _add_up(self, report: dict[str, Any]) -> None:
        """What grows with every step of whatever variant."""
        seconds = report.get("seconds", 0.0)
        _count_up(self._step_seconds, seconds, self._study)
        _count_up(self._wait_seconds, seconds * report.get("feed_wait_share", 0.0), self._study)
        _count_up(self._images, seconds * report.get("images_per_second", 0.0), self._study)
        _count_up(self._epochs, report.get("epochs", 1), self._study)

    def _count(self) -> None:
        self._counts["running"] = len(self._running)
        for status, count in self._counts.items():
            self._set(self._cells, count, self._study | {"status": status})

    def _tags(self, job: Job) -> dict[str, str]:
        return self._study | {"variant": self._variants.of(job.series or job.variant)}


def _count_up(counter: Counter, amount: float | None, tags: dict[str, str]) -> None:
    """A counter refuses to count nothing."""
    if amount:
        counter.inc(amount, tags)
