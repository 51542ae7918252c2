"""Jobs as Ray Tune's search algorithm: a trial is made when a slot is free, and its id is its cell's hash."""

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.search import SearchAlgorithm

from raysearch.engine.ray_internals import NotSaved, TrialMaker
from raysearch.engine.trials.jobs import Job, Jobs


class JobQueue(NotSaved, SearchAlgorithm):
    """Hands jobs to Tune. It is a `SearchAlgorithm`, since population-based training refuses a `Searcher`.

    Args:
        jobs: the source of the jobs.
        slots: returns how many trials may run at the moment; a cluster grows and shrinks.
        stopping: returns whether the user wants no more.

    Attributes:
        handed_out: cell -> job, of cells that have not ended.
    """

    def __init__(self, jobs: Jobs, slots: Callable[[], int], stopping: Callable[[], bool]) -> None:
        self.stopping = stopping
        self.handed_out: dict[str, Job] = {}
        self._jobs = jobs
        self._slots = slots
        self._spec: dict[str, Any] = {}
        self._maker = TrialMaker()
        self._live: list[Trial] = []
        self._returned: list[Job] = []
        self._lost_slots = 0

    def add_configurations(self, experiments: Any) -> None:
        """Take the experiment's specification, when Tune starts."""
        (experiment,) = experiments if isinstance(experiments, list) else [experiments]
        self._spec = experiment.spec

    def next_trial(self) -> Trial | None:
        """Return a trial for the next job, or None when there is no job or no slot."""
        if self.stopping() or not self.has_room():
            return None
        job = self._returned.pop() if self._returned else self._jobs.next()
        if job is None:
            return None
        self.handed_out[job.cell] = job
        trial = self._maker.make(self._spec, {"job": job.encode(), **job.moves}, job.cell)
        self._live.append(trial)
        return trial

    def has_room(self) -> bool:
        """Return whether one more trial may run."""
        self._live = [trial for trial in self._live if not trial.is_finished()]
        running = sum(trial.status != Trial.PAUSED for trial in self._live)
        return running < self._slots() - self._lost_slots

    def give_back(self, cell: str) -> bool:
        """Take back a job whose worker group never starts, and give up a slot; return whether a slot is left."""
        self._returned.append(self.handed_out.pop(cell))
        self._lost_slots += 1
        return self._lost_slots < self._slots()

    def is_finished(self) -> bool:
        """Return whether no trial will need a slot any more. Until then Tune keeps the actors of ended trials warm."""
        paused = any(trial.status == Trial.PAUSED for trial in self._live)
        return self.stopping() or (self._jobs.exhausted() and not paused and not self._returned)

    def set_finished(self) -> None:
        """Do nothing. Tune calls this when it is stopped; the jobs know themselves what remains."""

    def __deepcopy__(self, memo: Any) -> "JobQueue":
        return self
