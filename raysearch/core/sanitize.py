"""Text that is safe to show: control characters are replaced by their escape sequences.

A right-to-left override reverses the rest of a line, an escape character starts a command to a terminal, and half a
surrogate pair cannot be encoded. Names in a run directory come from its author, so they are shown as `\\u202e`.
A text in a table that a spreadsheet opens must not start a formula either.
"""

import codecs
import re
import unicodedata
from typing import Any

from raysearch.core.errors import UserError

# Control characters except tab and line feed, marks and overrides of the text direction, halves of surrogate pairs.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

# A spreadsheet reads a text that begins so as a formula; the last four are the full-width forms.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_PLAIN = {
    "\u2212": "-",  # minus sign
    "\u2013": "-",  # en dash
    "\u2014": "-",  # em dash
    "\u2026": "...",
    "\xb1": "+/-",
    "\xb7": "|",
    "\xd7": "x",
    "\u2192": "->",
    "\u2191": "^",
    "\u2193": "v",
    "\u25b2": "^",
    "\u25bc": "v",
    "\u2264": "<=",
    "\u2265": ">=",
    "\u2501": "-",  # rich's progress bars
    "\u2578": "-",
    "\u257a": "-",
}


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


def one_line(value: str) -> str:
    r"""Return a text on one line: as `escape_controls`, with line feeds and tabs as escape sequences too.

    >>> one_line("two\nlines")
    'two\\nlines'
    """
    return escape_controls(value).replace("\n", "\\n").replace("\t", "\\t")


def encodable(value: str, encoding: str) -> str:
    r"""Return a text that an encoding can represent: typographic signs by their plain forms, the rest escaped.

    >>> encodable("\u22120.02 \xb1 0.01, \u65e5", "ascii"), encodable("caf\xe9", "latin-1")
    ('-0.02 +/- 0.01, \\u65e5', 'caf\xe9')
    """
    try:
        value.encode(encoding)
    except LookupError:
        return encodable(value, "ascii")
    except UnicodeEncodeError:
        return "".join(_encodable_sign(sign, encoding) for sign in value)
    return value


def check_utf8(path: str) -> None:
    """Check that a path can be given to libraries that take UTF-8 only, as Arrow does.

    Raises:
        UserError: it has a byte that is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"the path '{escape_controls(path)}' is not UTF-8; rename the file or directory") from None


def is_utf8(encoding: str | None) -> bool:
    """Return whether an encoding is UTF-8 under any of its names.

    >>> is_utf8("UTF8"), is_utf8("latin-1"), is_utf8(None)
    (True, False, False)
    """
    try:
        return codecs.lookup(encoding or "ascii").name == "utf-8"
    except LookupError:
        return False


def csv_text(value: str) -> str:
    """Return a text that no spreadsheet runs as a formula: it gets an apostrophe, which marks a text there.

    Control characters other than line feeds and tabs are escaped; a table is also read in a terminal.

    >>> csv_text("=cmd|' /C calc'!A0"), csv_text("-1e-05"), csv_text("srem.size=5")
    ("'=cmd|' /C calc'!A0", '-1e-05', 'srem.size=5')
    """
    value = escape_controls(value)
    return f"'{value}" if value.startswith(_FORMULA_STARTS) and not _is_number(value) else value


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _encodable_sign(sign: str, encoding: str) -> str:
    for form in (sign, _PLAIN.get(sign), unicodedata.normalize("NFKC", sign)):
        if form is not None and _can_encode(form, encoding):
            return form
    return sign.encode("ascii", "backslashreplace").decode("ascii")


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
