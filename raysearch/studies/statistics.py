"""The public address of the statistics; `raysearch.studies.analysis.statistics` holds the code."""

from raysearch.studies.analysis import compare

__all__ = ["compare"]
