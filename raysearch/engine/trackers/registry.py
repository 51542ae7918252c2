"""The trackers by name, and the check that their libraries are installed. No library is imported here."""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from raysearch.core import Problems, Registry


@dataclass(frozen=True)
class TrackerSpec:
    """A tracker that `--log` can name.

    Attributes:
        implementation: `module:Class`, imported in the tracker's process; the class takes the folder and the study.
        library: the module that must be installed.
        extra: the extra of this package that installs it.
        follow: the command that shows what was logged; `{folder}` is the tracker's folder, `{study}` the study.
    """

    implementation: str
    library: str
    extra: str
    follow: str


TRACKERS: Registry[TrackerSpec] = Registry("tracker")


def _register(name: str, implementation: str, follow: str) -> None:
    TRACKERS.register(name, TrackerSpec(f"raysearch.engine.trackers.{name}:{implementation}", name, name, follow))


_register("tensorboard", "TensorboardTracker", "tensorboard --logdir '{folder}'")
_register("mlflow", "MlflowTracker", "mlflow ui --backend-store-uri 'sqlite:///{folder}/mlflow.db'")
_register("wandb", "open_tracker", "wandb sync '{folder}'/wandb/offline-run-*")
_register("trackio", "TrackioTracker", "TRACKIO_DIR='{folder}' trackio show --project '{study}'")


def check_trackers(names: Iterable[str]) -> list[str]:
    """Return the names of trackers without repetitions, after a check that each can be used.

    Raises:
        UserError: a name is unknown, or its library is not installed.
    """
    problems = Problems()
    distinct = list(dict.fromkeys(names))
    for name in distinct:
        with problems.caught("--log: "):
            spec = TRACKERS[name]
            if importlib.util.find_spec(spec.library) is None:
                problems.add(f"--log {name}: {spec.library} is not installed; pip install 'raysearch[{spec.extra}]'")
    problems.raise_all()
    return distinct
