"""Checks of a cluster file and of a study on that cluster, made before either costs money.

Each check yields `CheckResult`s: PASS, WARN or FAIL with one line of explanation.
"""

from raysearch.engine.preflight.check_result import CheckResult, CheckStatus, collect
from raysearch.engine.preflight.node_types import NodeType

__all__ = ["CheckResult", "CheckStatus", "NodeType", "collect"]
