"""The public address of a run's results; `raysearch.runs.results` holds the code."""

from raysearch.runs.results import load, read_study, save_table

__all__ = ["load", "read_study", "save_table"]
