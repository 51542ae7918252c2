"""Columns of a table of images: which one holds the label, and which one the image.

A column is a label by its name, or by the metadata of its file. Any other column may be a caption, an id or a number of
pixels, so the user names the column then.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from raysearch.core import UserError, nearest

LABEL_NAMES = ("label", "labels", "class", "cls", "class_name", "classname", "category", "target")
IMAGE_NAMES = ("image", "img", "images", "picture", "photo")


def choose_column(
    where: str, flag: str, asked: str | None, columns: Mapping[str, str], certain: Sequence[str], names: Sequence[str]
) -> str:
    """Return the column that holds a label or an image.

    Args:
        where: the file, named in errors.
        flag: by which the user names a column, such as --label-column.
        asked: the value of the flag.
        columns: name -> kind, of all columns that may be named; kinds are shown in errors.
        certain: the columns that are meant by the metadata of the file; empty if it has none.
        names: names, in lower case, that tell a column without metadata; the first wins.

    Raises:
        UserError: no such column, none that is certain, or several.
    """
    if asked is not None:
        if asked not in columns:
            raise UserError(
                f"{flag} {asked}: {where} has no such column{nearest(asked, columns)}{_listed(columns, flag)}"
            )
        return asked
    candidates = list(certain) or [name for name in columns if name.lower() in names]
    exact = [name for name in candidates if name.lower() == names[0]]
    if len(exact) == 1 or len(candidates) == 1:
        return exact[0] if len(exact) == 1 else candidates[0]
    if candidates:
        raise UserError(f"{where} has {', '.join(candidates)} in place of a column {names[0]!r}; choose one by {flag}")
    if not columns:
        raise UserError(f"{where} has none that could be in place of a column {names[0]!r}")
    raise UserError(
        f"{where} has no column {names[0]!r}, neither by its name nor by its metadata{_listed(columns, flag)}"
    )


def label_text(value: Any) -> str | None:
    """Return a cell as the text of a label, or None if it is empty or no number.

    >>> [label_text(value) for value in ("wren ", 3, 3.0, 2.5, True, b"owl", None, float("nan"), " ")]
    ['wren', '3', '3', '2.5', 'True', 'owl', None, None, None]
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if value is None or value != value:
        return None
    if not isinstance(value, str | bool):
        with contextlib.suppress(TypeError, ValueError, OverflowError):  # a date, a time, infinity
            value = int(value) if value == int(value) else value
    return str(value).strip() or None


def _listed(columns: Mapping[str, str], flag: str) -> str:
    names = ", ".join(f"{name} ({kind})" if kind else name for name, kind in columns.items())
    return f"; it has {names}. Name one by {flag}"
