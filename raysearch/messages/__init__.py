"""The typed objects that commands print for programs by `--json`, one per line; the last is the outcome.

`schema.json` describes them; the module `schema` exports it from the models. Nothing here imports torch or Ray.
"""

from raysearch.messages.check import CheckedSubject, CheckMessage
from raysearch.messages.lines import JsonLines, print_error
from raysearch.messages.message import VERSION, ErrorMessage, Message, Metric
from raysearch.messages.plan import Forecast, PlanMessage, PlannedCell, PlannedVariant
from raysearch.messages.progress import CellMessage, ProgressMessage, progress_message
from raysearch.messages.result import (
    CellCounts,
    ComparisonMessage,
    Hole,
    Learned,
    NextStep,
    ResultMessage,
    VariantResult,
    Verdict,
)

__all__ = [
    "VERSION",
    "CellCounts",
    "CellMessage",
    "CheckMessage",
    "CheckedSubject",
    "ComparisonMessage",
    "ErrorMessage",
    "Forecast",
    "Hole",
    "JsonLines",
    "Learned",
    "Message",
    "Metric",
    "NextStep",
    "PlanMessage",
    "PlannedCell",
    "PlannedVariant",
    "ProgressMessage",
    "ResultMessage",
    "VariantResult",
    "Verdict",
    "print_error",
    "progress_message",
]
