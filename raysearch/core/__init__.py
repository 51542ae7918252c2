"""Parts that every layer uses: errors, registries, files, locks, background threads, logs and command lines.

Nothing here knows a data set, a model or a study. `cli` needs typer and rich and is not imported here.
"""

from raysearch.core.background import run_periodically
from raysearch.core.confined import is_own, is_private, open_below, refuse_link
from raysearch.core.cpus import count_cpus
from raysearch.core.durations import format_seconds
from raysearch.core.errors import Problems, Unreachable, UserError, UserErrors, WriteError, nearest, type_of
from raysearch.core.interrupt import Interrupt, StopSignals
from raysearch.core.locks import lock_file
from raysearch.core.registry import Registry

__all__ = [
    "Interrupt",
    "Problems",
    "Registry",
    "StopSignals",
    "Unreachable",
    "UserError",
    "UserErrors",
    "WriteError",
    "count_cpus",
    "format_seconds",
    "is_own",
    "is_private",
    "lock_file",
    "nearest",
    "open_below",
    "refuse_link",
    "run_periodically",
    "type_of",
]
