"""`study.json` as one typed model, used to write it and to read it.

Every key but `study`, `variants` and `cells` may be missing, because older and interrupted runs hold less. Unknown keys
are kept. The file is checked once, when it is read, so readers need not doubt a type. A file from elsewhere may hold a
value of another type, a number that fits no float, or braces a thousand deep: each gives a one-line error.
"""

from raysearch.runs.study_record.costs import CostRecord, FeedRecord, PretrainingsRecord
from raysearch.runs.study_record.fields import Mode, config_section
from raysearch.runs.study_record.parsing import parse_record
from raysearch.runs.study_record.planned import CellRecord, LevelsRecord, VariantRecord
from raysearch.runs.study_record.search_parts import (
    BestRecord,
    ChangeRecord,
    EpochsRecord,
    ExplainedGroupRecord,
    ExplanationRecord,
    LearnedRecord,
)
from raysearch.runs.study_record.study import StudyRecord
from raysearch.runs.study_record.surroundings import DataRecord, DataSetRecord, SplitRecord, Surroundings

__all__ = [
    "BestRecord",
    "CellRecord",
    "ChangeRecord",
    "CostRecord",
    "DataRecord",
    "DataSetRecord",
    "EpochsRecord",
    "ExplainedGroupRecord",
    "ExplanationRecord",
    "FeedRecord",
    "LearnedRecord",
    "LevelsRecord",
    "Mode",
    "PretrainingsRecord",
    "SplitRecord",
    "StudyRecord",
    "Surroundings",
    "VariantRecord",
    "config_section",
    "parse_record",
]
