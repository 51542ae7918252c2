"""The process that explains a search: the path from its reference to its best config, and each change left out of it.

`request` reads the words of a call. `planned_cells` finds the cells, with the looks of `race`. `jobs` hands them to
Ray, and `driver` runs them.
"""

from raysearch.engine.drivers.explanation.driver import open_driver

__all__ = ["open_driver"]
