"""One account of what was read: how many images, what was left out and for which reason, and the lists that were used.

Ingest, `retrieve` and `classify` print it, the manifest and the report keep it, and `--strict` turns anything that was
left out into an error. Whatever is in SRC is in the account: an image that was read, a file that the layout used
(lists, annotations, archives), or something that was left out and is counted by its reason.

A layout reports what it leaves out as `Unused`: rows of lists, members of archives, and files for whose reason one has
to know the layout. Everything else in SRC is found by `raysearch.data.source_tree`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from raysearch.core import UserError

if TYPE_CHECKING:
    from raysearch.core.console import TerminalTable

Kind = Literal["image", "file", "folder", "row", "member"]
KINDS: tuple[Kind, ...] = ("image", "file", "folder", "row", "member")  # in the order of the table
NAMES_KEPT = 3  # first names of each reason
REASONS_KEPT = 40  # of each kind; a file of a million different mistakes must not fill the manifest
OTHER_REASONS = "other reasons"


class Unused(NamedTuple):
    """Something in SRC that is not read."""

    kind: Kind
    name: str  # path below SRC with forward slashes; a row or member begins with that of its file
    reason: str  # the same text for all that are left out for the same reason


class LeftOut(BaseModel):
    """All things of one kind that were left out for one reason."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    reason: str
    number: int
    first: tuple[str, ...] = ()  # the first names


class CorruptLike(Protocol):
    """An image that does not decode, such as `raysearch.data.shards.Corrupt`."""

    @property
    def source(self) -> str: ...

    @property
    def reason(self) -> str: ...


class ReadingAccount(BaseModel):
    """What was read of a source, and what was not."""

    model_config = ConfigDict(frozen=True)

    read: int  # images
    used: tuple[str, ...] = ()  # lists, annotations and archives that the layout used
    left_out: tuple[LeftOut, ...] = ()

    @property
    def number_left_out(self) -> int:
        """The number of things that were left out."""
        return sum(entry.number for entry in self.left_out)

    def complete(self, read: int, corrupt: "Iterable[CorruptLike]" = ()) -> "ReadingAccount":
        """Return the account at the end of the reading.

        Args:
            read: images that were read.
            corrupt: images that are not in the account yet and did not decode.
        """
        more = group_unused(Unused("image", image.source, image.reason) for image in corrupt)
        return self.model_copy(update={"read": read, "left_out": _merge(self.left_out, more)})

    def describe(self) -> str:
        """Return the account in one line.

        >>> group = LeftOut(kind="file", reason="the ending is .txt", number=2, first=("a.txt", "b.txt"))
        >>> ReadingAccount(read=7, left_out=(group,)).describe()
        '7 images read; left out: 2 files (the ending is .txt: a.txt, b.txt)'
        >>> ReadingAccount(read=1).describe()
        '1 image read, nothing left out'
        """
        read = f"{count(self.read, 'image')} read"
        if not self.left_out:
            return f"{read}, nothing left out"
        groups = (
            f"{count(entry.number, entry.kind)} ({entry.reason}: {_shorten(entry)})" if entry.first else entry.reason
            for entry in self.left_out
        )
        return f"{read}; left out: {'; '.join(groups)}"

    def refuse(self, where: str) -> None:
        """Raise if anything was left out; this is `--strict`.

        Args:
            where: the source, for the error.

        Raises:
            UserError: something was left out.
        """
        if self.left_out:
            groups = "; ".join(
                f"{count(entry.number, entry.kind)} ({entry.reason}: {_shorten(entry)})" for entry in self.left_out[:3]
            )
            more = f"; and {count(len(self.left_out) - 3, 'more reason')}" if len(self.left_out) > 3 else ""
            raise UserError(
                f"--strict: {where} holds what is not read: {groups}{more}; remove it, or leave --strict out"
            )

    def table(self) -> "TerminalTable":
        """Return the account as a table for a terminal."""
        from raysearch.core.console import table_of_rows

        rows = [("images", f"{self.read:,}", "read", "")]
        if self.used:
            names = ", ".join(self.used[:NAMES_KEPT]) + (", ..." if len(self.used) > NAMES_KEPT else "")
            rows.append(("lists", f"{len(self.used):,}", "used", names))
        styles = [""] * len(rows) + ["yellow"] * len(self.left_out)
        rows += [
            (f"{entry.kind}s", f"{entry.number:,}", f"left out: {entry.reason}", _shorten(entry))
            for entry in self.left_out
        ]
        titles = ("what", "number", "reason", "first")
        return table_of_rows(titles, rows, names=("reason", "first"), keep=titles[:3], row_styles=styles)


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "image"), count(2000, "row")
    ('1 image', '2,000 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def account_of(read: int, unused: Iterable[Unused], used: Sequence[str] = ()) -> ReadingAccount:
    """Return the account of a source.

    Args:
        read: images that were read.
        unused: everything that was not.
        used: paths of the lists, annotations and archives that the layout used.
    """
    return ReadingAccount(read=read, used=tuple(used), left_out=group_unused(unused))


def group_unused(unused: Iterable[Unused]) -> tuple[LeftOut, ...]:
    """Group by kind and reason, the largest group of each kind first. Reasons that differ in numbers only are the same.

    >>> rows = [Unused("row", f"split.csv, line {n}", f"line {n} names no file") for n in (2, 3)]
    >>> group_unused(rows)[0].number
    2
    """
    groups: dict[tuple[Kind, str], tuple[str, list[str], list[int]]] = {}
    for entry in unused:
        key = entry.kind, re.sub(r"\d+", "0", entry.reason)
        _, names, numbers = groups.setdefault(key, (entry.reason, [], [0]))
        numbers[0] += 1
        if len(names) < NAMES_KEPT:
            names.append(entry.name.encode("utf-8", "backslashreplace").decode())
    return _merge(
        (),
        (
            LeftOut(
                kind=kind,
                reason=reason.encode("utf-8", "backslashreplace").decode(),
                number=numbers[0],
                first=tuple(names),
            )
            for (kind, _), (reason, names, numbers) in groups.items()
        ),
    )


def _merge(first: Iterable[LeftOut], second: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
    merged: dict[tuple[Kind, str], LeftOut] = {}
    for entry in (*first, *second):
        key = entry.kind, re.sub(r"\d+", "0", entry.reason)
        if earlier := merged.get(key):
            names = (*earlier.first, *entry.first)[:NAMES_KEPT]
            entry = earlier.model_copy(update={"number": earlier.number + entry.number, "first": names})
        merged[key] = entry
    result: list[LeftOut] = []
    for kind in KINDS:
        of_kind = sorted((entry for entry in merged.values() if entry.kind == kind), key=_largest_first)
        result += of_kind[:REASONS_KEPT]
        if others := of_kind[REASONS_KEPT:]:
            names = tuple(name for entry in others for name in entry.first)[:NAMES_KEPT]
            number = sum(entry.number for entry in others)
            result.append(LeftOut(kind=kind, reason=OTHER_REASONS, number=number, first=names))
    return tuple(result)


def _largest_first(entry: LeftOut) -> tuple[bool, int]:
    return entry.reason == OTHER_REASONS, -entry.number


def _shorten(entry: LeftOut) -> str:
    return ", ".join(entry.first) + (", ..." if entry.number > len(entry.first) else "")
