"""The process that drives a study: a driver for each kind of study, and the session in which its cells run.

`open_driver` returns the driver of a plan. `session` connects to Ray, places images and stores every cell that ends.
"""

import importlib
from typing import Protocol

from raysearch.engine.options import RunContext
from raysearch.messages import PlanMessage
from raysearch.runs.study_record import StudyRecord, Surroundings
from raysearch.studies.design import Plan

__all__ = ["Driver", "open_driver"]


class Driver(Protocol):
    """Runs one kind of study."""

    def validate(self) -> None:
        """Find mistakes that the study file could not show, before any image is decoded.

        Raises:
            UserError: a name, option or distribution that cannot be used.
        """

    def describe(self, surroundings: Surroundings) -> StudyRecord:
        """Return the record of the study, as it is known before the first cell.

        Args:
            surroundings: data, settings and code.
        """
        ...

    def dry_run(self, context: RunContext) -> None:
        """Print what would run and what it will cost."""

    def plan(self, context: RunContext, place: str) -> PlanMessage:
        """Return the plan for programs; `place` is the path or URI that names the run."""
        ...

    def run(self, context: RunContext) -> bool:
        """Run what is missing; return whether the study is complete, or the user stopped it."""
        ...


def open_driver(plan: Plan) -> Driver:
    """Return the driver of a plan's kind.

    Its module is imported here: a search needs Ray from the start, and an ablation with nothing to run never does.
    """
    driver: Driver = importlib.import_module(f"{__name__}.{plan.kind}").open_driver(plan)
    return driver
