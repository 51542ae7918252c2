"""The address under which study files of earlier versions import; new ones write `from raysearch import Ablation`."""

from raysearch.studies.design import Ablation, Factor, Search, choice, component, factor

__all__ = ["Ablation", "Factor", "Search", "choice", "component", "factor"]
