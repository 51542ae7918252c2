"""Trackers: TensorBoard, MLflow, Weights & Biases and Trackio follow a sweep, each in a process of its own.

`tracking` connects a sweep with the trackers that `--log` names. A further tracker is one file and a line in
`registry`.
"""

from raysearch.engine.trackers.registry import TRACKERS, TrackerSpec, check_trackers
from raysearch.engine.trackers.tracker import Outcome, TrackedCell, Tracker
from raysearch.engine.trackers.tracking import Tracking, tracked

__all__ = [
    "TRACKERS",
    "Outcome",
    "TrackedCell",
    "Tracker",
    "TrackerSpec",
    "Tracking",
    "check_trackers",
    "tracked",
]
