"""raysearch: ablations and hyper-parameter searches of vision models, answered in a report."""

__version__ = "0.1.0"
