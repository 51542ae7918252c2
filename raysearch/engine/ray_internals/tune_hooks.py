"""What Tune has no switch for: its signals, its record of a run, the ids and failures of trials, and warm actors."""

import contextlib
import importlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from raysearch.engine.ray_internals import settings

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


@contextlib.contextmanager
def signals_left_alone() -> Iterator[None]:
    """Keep Tune from handling signals itself in the block. It has a switch for SIGINT, and none for SIGUSR1.

    Tune's handlers would end the run without a word of how to continue it.
    """
    module: Any = importlib.import_module("ray.tune.tune")  # the package has a function of the same name
    setup = module._setup_signal_catching
    module._setup_signal_catching = threading.Event
    try:
        yield
    finally:
        module._setup_signal_catching = setup


@contextlib.contextmanager
def actors_inherit_environment() -> Iterator[None]:
    """Have Tune start trial actors without a runtime environment, on a Ray that this process started.

    Tune hands each trial actor some of the driver's variables in one, and the actor's own actors inherit it. Ray then
    starts Python twice for each, and cannot use the workers that it started in advance. The processes of a local Ray
    have the driver's environment anyway. On a cluster this does nothing.
    """
    if os.environ.get(settings.ENVIRONMENT_OF) != str(os.getpid()):
        yield
        return
    cache: Any = importlib.import_module("ray.tune.execution.class_cache")._ActorClassCache
    get = cache.get
    cache.get = lambda self, trainable: self._cache.setdefault(trainable, ray.remote(trainable))
    try:
        yield
    finally:
        cache.get = get


class NotSaved:
    """A mixin for what is handed to Tune. Tune pickles its parts for a restore, which raysearch never asks for."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TrialMaker:
    """Makes Tune trials one by one, as Tune's own search algorithms do. The public ones cannot choose a trial's id."""

    def __init__(self) -> None:
        from ray.tune.experiment.config_parser import _make_parser

        self._parser = _make_parser()

    def make(self, spec: Mapping[str, Any], config: Mapping[str, Any], trial_id: str) -> "Trial":
        """Return a trial.

        Args:
            spec: the experiment's specification, which Tune gives to a search algorithm.
            config: the trial's config.
            trial_id: the trial's id, and the name of its folder.
        """
        from ray.tune.experiment.config_parser import _create_trial_from_spec

        return _create_trial_from_spec(
            {**spec, "config": dict(config)}, self._parser, trial_id=trial_id, experiment_tag=trial_id
        )


def forget_trial(trials: list["Trial"], trial: "Trial") -> None:
    """Remove an ended trial from Tune's list, which Tune goes through at every step: 10,000 cells would slow it down.

    Args:
        trials: the list that Tune hands to callbacks, which is its own.
        trial: which has ended.
    """
    with contextlib.suppress(ValueError):
        trials.remove(trial)


def count_failures(trial: "Trial") -> int:
    """Return the failures of a trial that Tune counts towards `max_failures`."""
    return trial.run_metadata.num_failures


def set_failures(trial: "Trial", count: int) -> None:
    """Change the failures that Tune counts. It counts over a trial's life; raysearch counts since the last progress."""
    trial.run_metadata.num_failures = count


def last_failure(trial: "Trial") -> str:
    """Return Tune's account of why the last attempt at a trial failed: a traceback, or the description of a dead actor.

    Tune keeps the accounts of all attempts in one file per trial. The text is empty if there is none.
    """
    text = ""
    with contextlib.suppress(OSError, TypeError):
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    return text.rpartition("Failure #")[2]


def keep_warm_actors(tune_controller: Any, placement_group_factory: Any, count: int) -> None:
    """Have Tune keep idle actors for paused trials. By itself it keeps one, and a worker group starts slowly.

    Args:
        tune_controller: the controller that Tune gives to a scheduler.
        placement_group_factory: the resources of the trials that share the actors.
        count: actors to keep besides Tune's own.
    """
    tune_controller._tune_controller._actor_cache.increase_max(placement_group_factory, count)
