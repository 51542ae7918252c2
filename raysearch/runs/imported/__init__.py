"""Results that other tools wrote, as a run directory of our own: the report then judges them like any study.

`import_run` reads a source with the first reader of `registry` that knows it. `columns` decides what its columns mean.
"""

from raysearch.runs.imported.columns import ColumnChoice
from raysearch.runs.imported.importing import ImportedRun, default_directory, import_run
from raysearch.runs.imported.registry import READERS, SourceReader, is_foreign

__all__ = [
    "READERS",
    "ColumnChoice",
    "ImportedRun",
    "SourceReader",
    "default_directory",
    "import_run",
    "is_foreign",
]
