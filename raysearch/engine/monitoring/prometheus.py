"""The Prometheus metrics of a running study: Ray's own metrics, labeled by study and variant.

Ray exports them with the prefix `ray_`, and counters also with the suffix `_total`. The driver sets them from the
reports of the workers. `dashboards/grafana` draws them, and the rules in `dashboards/prometheus` alert on them.

Every combination of labels is a time series that Prometheus keeps for the whole run. Each config of a search is a
variant of its own, so all of them share one label. The variants of an ablation past a limit share another. Plain sums
have only the label of the study.
"""

import contextlib
import json
import threading
import time
from typing import Any, Self

from ray.util.metrics import Counter, Gauge

from raysearch.core import run_periodically
from raysearch.engine.trials.jobs import Job, Listener, Objective

MAX_VARIANTS = 100  # that have series of their own; more cannot be told apart in a chart
OTHER_VARIANTS = "others"

_LABELS = ("study", "variant")
_SET_AGAIN_SECONDS = 1.0  # the shortest interval at which Ray reports


class PersistentGauges:
    """Gauges that keep their value while the context is entered, which may be several times.

    Ray exports a gauge's value once after it was set, and its exporter forgets the value after two report intervals
    (Ray 2.60: 20 s). A cell may train for hours between two changes, so all values are set again every second.
    """

    def __init__(self) -> None:
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], tuple[Gauge, float, dict[str, str]]] = {}
        self._lock = threading.Lock()
        self._repetition = contextlib.ExitStack()

    def set(self, gauge: Gauge, value: float, tags: dict[str, str]) -> None:
        """Set a gauge's value for these labels."""
        gauge.set(value, tags)
        with self._lock:
            self._values[gauge.info["name"], frozenset(tags.items())] = (gauge, value, tags)

    def __enter__(self) -> Self:
        self._repetition.enter_context(run_periodically(self._set_again, _SET_AGAIN_SECONDS))
        return self

    def __exit__(self, *_: Any) -> None:
        self._repetition.close()

    def _set_again(self) -> None:
        with self._lock:
            for gauge, value, tags in self._values.values():
                gauge.set(value, tags)


class VariantLabels:
    """Labels for any number of variant names: the first names themselves, then one shared label.

    Args:
        limit: names with a label of their own.

    >>> labels = VariantLabels(limit=2)
    >>> [labels.label(name) for name in ("a", "b", "c", "a", "d")]
    ['a', 'b', 'others', 'a', 'others']
    """

    def __init__(self, limit: int = MAX_VARIANTS) -> None:
        self._limit = limit
        self._names: set[str] = set()

    def label(self, name: str) -> str:
        """Return the label of a name, which is the same for the rest of the run."""
        if name not in self._names and len(self._names) == self._limit:
            return OTHER_VARIANTS
        self._names.add(name)
        return name


class StudyMetrics(Listener):
    """Count the cells of a study and pass on what they report.

    Args:
        study: the label of all series.
        objective: the metric of a step's report whose best value is shown; None for none.
        gauges: sets the gauges; values are exported while it is entered.
    """

    def __init__(self, study: str, objective: Objective | None, gauges: PersistentGauges) -> None:
        self._study = {"study": study}
        self._objective = objective
        self._set = gauges.set
        # "found" cells ended before this call or in another driver. The other counts of two drivers add up.
        self._counts = {"found": 0, "running": 0, "finished": 0, "failed": 0, "stopped": 0}
        self._best: dict[str, float] = {}
        self._running: set[str] = set()
        self._variants = VariantLabels()
        self._cells = Gauge("raysearch_cells", "Cells by status.", ("study", "status"))
        self._planned = Gauge("raysearch_cells_planned", "Cells that the study plans.", ("study",))
        self._ended = Counter("raysearch_ended_cells", "Ended cells, by status.", (*_LABELS, "status"))
        self._retries = Counter("raysearch_retries", "Cells started again after a fault.", _LABELS)
        self._metric = Gauge("raysearch_best_metric", "Best held-out metric so far.", (*_LABELS, "metric"))
        self._speed = Gauge("raysearch_images_per_second", "Images per second in the last step.", _LABELS)
        self._episodes = Gauge("raysearch_episodes_per_second", "Episodes per second in the last step.", _LABELS)
        self._wait = Gauge("raysearch_feed_wait_share", "Share of the last step spent waiting for images.", _LABELS)
        self._memory = Gauge("raysearch_gpu_memory_bytes", "Peak GPU memory of the last step.", _LABELS)
        self._seconds = Counter("raysearch_worker_seconds", "Training time of ended cells, in seconds.", _LABELS)
        self._gpu_seconds = Counter("raysearch_gpu_seconds", "GPU time of ended cells, in seconds.", _LABELS)
        self._cost = Gauge("raysearch_cost_dollars", "Cost of all nodes so far, in dollars.", ("study",))
        self._images = Counter("raysearch_images", "Images trained on.", ("study",))
        self._epochs = Counter("raysearch_epochs", "Epochs trained.", ("study",))
        self._step_seconds = Counter("raysearch_step_seconds", "Time of all steps, in seconds.", ("study",))
        self._wait_seconds = Counter(
            "raysearch_feed_wait_seconds", "Time of steps spent waiting for images, in seconds.", ("study",)
        )
        self._last_end = Gauge(
            "raysearch_last_end_timestamp_seconds",
            "When a cell last ended; at first, the study's start.",
            ("study",),
        )
        self._last_step = Gauge(
            "raysearch_last_step_timestamp_seconds",
            "When a step last ended; at first, the study's start.",
            ("study",),
        )

    def set_cost(self, dollars: float) -> None:
        """Set the cost of all nodes so far."""
        self._set(self._cost, dollars, self._study)

    def set_plan(self, done: int, total: int) -> None:
        """Set the number of cells, before the first one starts.

        Args:
            done: cells of `total` that ended before this call.
            total: cells of the study.
        """
        self._counts["found"] = done
        self._set(self._planned, total, self._study)
        self._set(self._last_end, time.time(), self._study)
        self._set(self._last_step, time.time(), self._study)
        self._count()

    def set_total(self, total: int) -> None:
        """Correct the number of cells of the study."""
        self._set(self._planned, total, self._study)

    def started(self, job: Job) -> None:
        """Count a cell as running."""
        self._running.add(job.cell)
        self._count()

    def stepped(self, job: Job, report: dict[str, Any], steps: int) -> None:
        """Set the gauges of a cell's speed and memory, and the best value of its variant's objective."""
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
            if self._objective.is_better(value, self._best.get(tags["variant"])):
                self._best[tags["variant"]] = value
                self._set(self._metric, value, tags | {"metric": self._objective.metric})

    def retried(self, job: Job, reason: str) -> None:
        """Increment the retries of the cell's variant."""
        self._retries.inc(1, self._tags(job))

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        """Count an ended cell by its status, or as found if another process ran it."""
        ran_here = job.cell in self._running
        self._running.discard(job.cell)
        self._counts[record["status"] if ran_here else "found"] += 1
        self._count()
        self._set(self._last_end, time.time(), self._study)
        if not ran_here:
            return
        self._ended.inc(1, self._tags(job) | {"status": record["status"]})
        history = json.loads(record.get("history", "[]"))
        if record["status"] == "finished" and history:  # Ray Tune delivers the last step with the end
            self.stepped(job, history[-1], len(history))
        _count_up(self._seconds, record.get("seconds"), self._tags(job))
        _count_up(self._gpu_seconds, record.get("gpu_seconds"), self._tags(job))

    def _add_up(self, report: dict[str, Any]) -> None:
        """Add a step to the sums over all variants."""
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
        return self._study | {"variant": self._variants.label(job.series or job.variant)}


def _count_up(counter: Counter, amount: float | None, tags: dict[str, str]) -> None:
    """Increase a counter, which refuses to be increased by zero."""
    if amount:
        counter.inc(amount, tags)
