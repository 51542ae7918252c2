"""Texts as people may see them: characters that act on what stands around them are written out.

A right-to-left override turns the rest of a line around, an escape begins a command to a terminal, half of a surrogate
pair is no text at all. Names come from whoever wrote the run; here they stand as `\\u202e`.
"""

import re
from typing import Any

# controls but tab and line feed, marks and overrides of direction, halves of surrogate pairs
_ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def escape_controls(value: str) -> str:
    r"""
    >>> escape_controls("safe\u202egpj.exe"), escape_controls("\x1b[31m"), escape_controls("é ✓")
    ('safe\\u202egpj.exe', '\\u001b[31m', 'é ✓')
    """
    return value if value.isascii() and value.isprintable() else _ACTS.sub(_written, value)


def escape_nested(value: Any) -> Any:
    """All texts in nested lists and dicts, keys among them; what needs no change is returned as it is.

    >>> escape_nested({"name": ["a\\u202eb", 1]})
    {'name': ['a\\\\u202eb', 1]}
    """
    if isinstance(value, str):
        return escape_controls(value)
    if isinstance(value, dict):
        return {escape_nested(key): escape_nested(one) for key, one in value.items()}
    return [escape_nested(one) for one in value] if isinstance(value, list) else value


def _written(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
