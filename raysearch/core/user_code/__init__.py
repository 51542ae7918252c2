"""A user's own functions and classes, named by file or import path, such as `my_loss.py:margin_loss`.

Their source names the cells that use them, and travels with the study to every worker.
"""

from raysearch.core.user_code.loading import describe_place, load, set_loaded, written_as
from raysearch.core.user_code.references import UserCode, code_of, is_reference, read_code, with_declared_version
from raysearch.core.user_code.registered import (
    RegisteredCodes,
    all_registered,
    register,
    register_reference,
    registered_code,
    unregister_all,
)
from raysearch.core.user_code.source_files import read_sources, source_digest

__all__ = [
    "RegisteredCodes",
    "UserCode",
    "all_registered",
    "code_of",
    "describe_place",
    "is_reference",
    "load",
    "read_code",
    "read_sources",
    "register",
    "register_reference",
    "registered_code",
    "set_loaded",
    "source_digest",
    "unregister_all",
    "with_declared_version",
    "written_as",
]
