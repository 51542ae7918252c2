"""The address under which study files of earlier versions import; new ones write `from raysearch import Ablation`."""

from raysearch.studies.design.ablation import Ablation
from raysearch.studies.design.factors import Factor, choice, component, factor
from raysearch.studies.design.search import Search

__all__ = ["Ablation", "Factor", "Search", "choice", "component", "factor"]
