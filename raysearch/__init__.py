"""raysearch runs ablations and hyper-parameter searches for vision models, and writes a report you can trust.

A study file imports from here:

>>> from raysearch import Ablation, factor
>>> study = Ablation(
...     question="How long should a code be?",
...     task="retrieval",
...     reference={"hash.bits": 24},
...     factors=[factor("hash.bits", 12, 48)],
... )

Names are loaded when they are first used, so importing raysearch imports neither torch nor Ray.
"""

from typing import TYPE_CHECKING

from raysearch.core.lazy import attribute_loader

if TYPE_CHECKING:
    from raysearch.api.run_results import load
    from raysearch.api.running import run
    from raysearch.core import UserError, UserErrors
    from raysearch.engine.preflight.study_check import check_study
    from raysearch.studies.design import Ablation, Adaptive, Search, choice, component, factor

__version__ = "0.1.0"
__all__ = [
    "Ablation",
    "Adaptive",
    "Search",
    "UserError",
    "UserErrors",
    "__version__",
    "check_study",
    "choice",
    "component",
    "factor",
    "load",
    "run",
]

_HOMES = {
    "load": "raysearch.api.run_results",
    "run": "raysearch.api.running",
    "Ablation": "raysearch.studies.design.ablation",
    "Adaptive": "raysearch.studies.design.adaptive_seeds",
    "Search": "raysearch.studies.design.search",
    "UserError": "raysearch.core.errors",
    "UserErrors": "raysearch.core.errors",
    "check_study": "raysearch.engine.preflight.study_check",
    "choice": "raysearch.studies.design.factors",
    "component": "raysearch.studies.design.factors",
    "factor": "raysearch.studies.design.factors",
}


__getattr__ = attribute_loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
