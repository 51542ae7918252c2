"""raysearch for Python programs and notebooks: `run` runs a study, and `load` opens a run for tables and figures.

Users import both from `raysearch`. Only `run` imports torch and Ray.
"""

from raysearch.api.run_results import RunResults, load

__all__ = ["RunResults", "load"]
