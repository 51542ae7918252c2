"""Jobs as Ray Tune's search algorithm: a trial is made when a place for it is free, and bears its cell's hash as id."""

import contextlib
from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser
from ray.tune.search import SearchAlgorithm

from raysearch.engine.trials.jobs import Job, Jobs


class JobQueue(SearchAlgorithm):
    """A `SearchAlgorithm` and no `Searcher`, since population-based training refuses searchers.

    Args:
        jobs: where they come from.
        slots: how many trials may run at the moment; a cluster grows and shrinks.
        stopping: whether the user wants no more.
    """

    def __init__(self, jobs: Jobs, slots: Callable[[], int], stopping: Callable[[], bool]) -> None:
        self._jobs, self._slots, self.stopping = jobs, slots, stopping
        self._spec: dict[str, Any] = {}
        self._parser = _make_parser()
        self._live: list[Trial] = []
        self.given: dict[str, Job] = {}

    def add_configurations(self, experiments: Any) -> None:
        (experiment,) = experiments if isinstance(experiments, list) else [experiments]
        self._spec = experiment.spec

    def next_trial(self) -> Trial | None:
        if self.stopping() or not self.room():
            return None
        job = self._jobs.next()
        if job is None:
            return None
        self.given[job.cell] = job
        spec = self._spec | {"config": {"job": job.encode(), **job.moves}}
        trial = _create_trial_from_spec(spec, self._parser, trial_id=job.cell, experiment_tag=job.cell)
        self._live.append(trial)
        return trial

    def room(self) -> bool:
        """Whether one more trial may run."""
        self._live = [trial for trial in self._live if not trial.is_finished()]
        running = sum(trial.status != Trial.PAUSED for trial in self._live)
        return running < self._slots()

    def is_finished(self) -> bool:
        """Whether no trial will want a place any more; until then Tune keeps the actors of ended ones for the next."""
        paused = any(trial.status == Trial.PAUSED for trial in self._live)
        return self.stopping() or (self._jobs.exhausted() and not paused)

    def set_finished(self) -> None:
        """Tune says so when it is stopped; what is left is the source's to know."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its search algorithm for a restore that is never asked for

    def __deepcopy__(self, memo: Any) -> "JobQueue":
        return self


def forget(trials: list, trial: Trial) -> None:
    """Take an ended trial out of Tune's list, which Tune goes through at every step."""
    with contextlib.suppress(ValueError):
        trials.remove(trial)
