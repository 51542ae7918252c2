"""Text that is safe to show: control characters are replaced by their escape sequences.

A right-to-left override reverses the rest of a line, an escape character starts a command to a terminal, and half a
surrogate pair cannot be encoded. Names in a run directory come from its author, so they are shown as `\\u202e`.
"""

import re
from typing import Any

# Control characters except tab and line feed, marks and overrides of the text direction, halves of surrogate pairs.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def escape_controls(value: str) -> str:
    r"""Return a text with its control characters written as escape sequences.

    >>> escape_controls("safe\u202egpj.exe"), escape_controls("\x1b[31m"), escape_controls("é ✓")
    ('safe\\u202egpj.exe', '\\u001b[31m', 'é ✓')
    """
    return value if value.isascii() and value.isprintable() else _UNSAFE.sub(_escape, value)


def escape_nested(value: Any) -> Any:
    """Escape every text in nested lists and dicts, keys included. Other values are returned as they are.

    >>> escape_nested({"name": ["a\\u202eb", 1]})
    {'name': ['a\\\\u202eb', 1]}
    """
    if isinstance(value, str):
        return escape_controls(value)
    if isinstance(value, dict):
        return {escape_nested(key): escape_nested(item) for key, item in value.items()}
    return [escape_nested(item) for item in value] if isinstance(value, list) else value


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
