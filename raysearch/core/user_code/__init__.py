"""A user's own functions and classes, named by file or import path, such as `my_loss.py:margin_loss`.

Their source names the cells that use them, and travels with the study to every worker.
"""

from raysearch.core.user_code.known import KnownCodes, all_known, forget_all, know, know_reference, known_code
from raysearch.core.user_code.loading import describe_place, load, remember, written_as
from raysearch.core.user_code.references import UserCode, code_of, is_reference, read_code, with_declared_version
from raysearch.core.user_code.source_files import read_sources, source_digest

__all__ = [
    "KnownCodes",
    "UserCode",
    "all_known",
    "code_of",
    "describe_place",
    "forget_all",
    "is_reference",
    "know",
    "know_reference",
    "known_code",
    "load",
    "read_code",
    "read_sources",
    "remember",
    "source_digest",
    "with_declared_version",
    "written_as",
]
