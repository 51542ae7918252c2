"""One run on disk: its location, the record of its study, its ended cells, checkpoints, results and heartbeats.

Only `checkpoints` and its writer use torch, and nothing imports Ray, so a report can be drawn anywhere.
"""

from raysearch.runs.heartbeat import Heartbeat, Note, RunningCell, Stage
from raysearch.runs.run_location import RunLocation
from raysearch.runs.study_record import (
    CellRecord,
    ChangeRecord,
    CostRecord,
    DataRecord,
    ExplainedGroupRecord,
    ExplanationRecord,
    FeedRecord,
    LearnedRecord,
    PretrainingsRecord,
    SplitRecord,
    StudyRecord,
    Surroundings,
    VariantRecord,
    config_section,
)

__all__ = [
    "CellRecord",
    "ChangeRecord",
    "CostRecord",
    "DataRecord",
    "ExplainedGroupRecord",
    "ExplanationRecord",
    "FeedRecord",
    "Heartbeat",
    "LearnedRecord",
    "Note",
    "PretrainingsRecord",
    "RunLocation",
    "RunningCell",
    "SplitRecord",
    "Stage",
    "StudyRecord",
    "Surroundings",
    "VariantRecord",
    "config_section",
]
