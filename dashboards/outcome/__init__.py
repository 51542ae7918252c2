"""What came out of a run, for programs: `message.outcome` returns what `raysearch report --json` prints.

Each kind of study has a module that turns its view into verdicts and claims.
"""

from dashboards.outcome.findings import Findings

__all__ = ["Findings"]
