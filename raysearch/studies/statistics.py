"""The public address of the statistics; the modules of `raysearch.studies.analysis` hold the code."""

from raysearch.studies.analysis import adaptive, compare

__all__ = ["adaptive", "compare"]
