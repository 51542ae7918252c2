"""Metrics of a user for retrieval: `(query_codes, query_labels, database_codes, database_labels) -> float`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from raysearch.core import Registry, user_code
from raysearch.studies.configs.user.parts import check_arguments

_ARGUMENTS = ("query_codes", "query_labels", "database_codes", "database_labels")


@dataclass(frozen=True)
class UserMetric:
    """A metric of a user.

    Args:
        name: its column in the results.
        code: its function.
        compute: the function.
    """

    name: str
    code: user_code.UserCode
    compute: Callable[..., Any]

    @property
    def metric_id(self) -> str:
        """Its exact definition, as far as raysearch knows it."""
        return f"{self.name}@{self.code.label}/test"


def _metric_of_code(code: user_code.UserCode) -> UserMetric:
    compute = user_code.load(code)
    check_arguments(compute, code, _ARGUMENTS, ())
    return UserMetric(code.name.replace(".", "_"), code, compute)


USER_METRICS: Registry[UserMetric] = Registry("metric")
USER_METRICS.from_code = _metric_of_code
