"""Values of a study file as plain types: None, True, False, integers, floats, strings, and lists of them.

NumPy, torch, pandas, pyarrow, enumerations, paths, decimals and iterators are known by what they offer, so none of
these packages is imported. A value that has no plain form is an error when the study is loaded.
"""

import copy
import decimal
import enum
import fractions
import itertools
import os
from collections.abc import Iterable, Mapping
from typing import Any

from raysearch.core import Problems, UserError, type_of

_MOST = 10_000  # values of one list; an iterator without end has more
_DEEPEST = 8  # lists within lists; a list that holds itself is deeper


def to_plain(value: object, where: str, depth: int = 0) -> Any:
    """Return a value as plain types.

    Args:
        value: as a study file or a Python program gives it.
        where: the place of the value, for the message.
        depth: how many lists are around it.

    Raises:
        UserError: a value without a plain form, or a list that is too long or too deep.

    >>> to_plain(range(3), "levels"), to_plain(fractions.Fraction(1, 4), "levels"), to_plain({"b", "a"}, "levels")
    ([0, 1, 2], 0.25, ['a', 'b'])
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth > _DEEPEST:
        raise UserError(f"{where}: lists are nested more than {_DEEPEST} deep; use a plain list")
    if isinstance(value, enum.Enum):
        return to_plain(value.value, where, depth + 1)
    if isinstance(value, os.PathLike):
        return os.fsdecode(os.fspath(value))
    if isinstance(value, decimal.Decimal | fractions.Fraction):
        return _plain_number(value)
    for kind in (bool, int, float, str):  # a subclass, such as numpy.float64 or numpy.str_
        if isinstance(value, kind):
            return kind(value)
    unpacked = _unpack(value, where)
    if unpacked is not value:
        return to_plain(unpacked, where, depth + 1)
    if isinstance(value, Mapping):
        items = {to_plain(key, where, depth + 1): item for key, item in value.items()}
        return {str(key): to_plain(item, where, depth + 1) for key, item in items.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return plain_list(value, where, depth)
    raise UserError(
        f"{where}: {_shortened(value)} is {type_of(value)}; use a number, a string, True, False, None, or a "
        "list of them"
    )


def plain_list(values: object, where: str, depth: int = 0) -> list[Any]:
    """Return the values of a list, array, set or iterator as plain types; those of a set are sorted.

    Raises:
        UserError: no list, an endless one, or a value without a plain form.
    """
    unpacked = _unpack(values, where)
    if not isinstance(unpacked, Iterable) or isinstance(unpacked, str | bytes | Mapping):
        raise UserError(f"{where}: {_shortened(values)} is {type_of(values)}; use a list")
    items = list(itertools.islice(unpacked, _MOST + 1))
    if len(items) > _MOST:
        raise UserError(f"{where}: more than {_MOST:,} values; use a shorter list")
    plain = [to_plain(item, where, depth + 1) for item in items]
    if isinstance(unpacked, set | frozenset):  # which has no order of its own
        plain.sort(key=lambda item: (isinstance(item, str), item if isinstance(item, int | float | str) else str(item)))
    return plain


def plain_settings(settings: object, where: str, problems: Problems | None = None) -> dict[str, Any]:
    """Return settings by dotted path with plain values.

    Args:
        settings: dotted path -> value.
        where: the place of the settings, for messages.
        problems: takes the mistakes, which are left out; None raises them.

    Raises:
        UserError: no mapping, a path that is no string, or a value without a plain form.
    """
    mistakes = Problems() if problems is None else problems
    plain = {}
    if not isinstance(settings, Mapping):
        mistakes.add(f"{where}: {_shortened(settings)} is {type_of(settings)}; use {{'config.path': value}}")
        settings = {}
    for path, value in settings.items():
        name = path.value if isinstance(path, enum.Enum) else path
        if not isinstance(name, str):
            mistakes.add(f"{where}: a config path is a string such as 'hash.bits', not {_shortened(name)}")
            continue
        with mistakes.caught():
            plain[str(name)] = to_plain(value, f"{where}: {name}")
    if problems is None:
        mistakes.raise_all()
    return plain


def plain_domain(domain: Any, where: str) -> Any:
    """Return a distribution of Ray Tune with plain bounds and choices, and anything else as it is.

    Raises:
        UserError: a bound or a choice without a plain form.
    """
    if not type(domain).__module__.startswith("ray.tune"):
        return domain
    changed = copy.copy(domain)
    for name in ("lower", "upper"):
        if hasattr(domain, name):
            setattr(changed, name, to_plain(getattr(domain, name), where))
    if hasattr(domain, "categories"):
        changed.categories = plain_list(domain.categories, where)
    drawn: Any = getattr(domain, "sampler", None)
    if hasattr(drawn, "q"):
        changed.sampler = copy.copy(drawn)
        changed.sampler.q = to_plain(drawn.q, where)
    return changed


def _unpack(value: Any, where: str) -> Any:
    """Return the Python value of a scalar or the list of an array, of packages such as NumPy, torch and pyarrow."""
    if isinstance(value, type):
        return value
    for method in ("as_py", "to_pylist", "tolist", "to_list"):
        convert = getattr(value, method, None)
        if callable(convert):
            try:
                return convert()
            except Exception as error:
                raise UserError(f"{where}: {type(value).__name__} cannot be read: {error}") from None
    return value


def _plain_number(value: decimal.Decimal | fractions.Fraction) -> int | float:
    """Return an integer where the number is written as such, else a float."""
    if isinstance(value, fractions.Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    written_whole = value.is_finite() and int(value.as_tuple().exponent) >= 0
    return int(value) if written_whole else float(value)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
