"""The place of a variant in the main table: its method, its column, and what both are called."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.html import formats

Levels = tuple[Any, ...]  # of the factors in `within`
ColumnKey = tuple[str, Levels]  # the data set, and the levels


def placed(view: View) -> Iterator[tuple[str, Levels, Variant]]:
    """Yield the method's name, the levels of the column, and the variant, for each place of each variant."""
    within = [name for name in view.study.within if name in view.factors]
    others = [name for name in view.factors if name not in within]
    for variant in view.variants:
        if not within:
            yield variant.label, (), variant
            continue
        for levels in variant.places(within + others):
            yield method_name(dict(zip(others, levels[len(within) :], strict=True))), levels[: len(within)], variant


def method_name(levels: Mapping[str, Any]) -> str:
    """Return the name of the method with some levels of the factors that are not in `within`.

    >>> method_name({"method": "ITQ", "hash.center": True}), method_name({})
    ('ITQ, hash.center on', 'all')
    """
    return ", ".join(_level_words(name, level) for name, level in levels.items()) or "all"


def _level_words(factor: str, level: Any) -> str:
    if isinstance(level, bool):
        return f"{factor} {'on' if level else 'off'}"
    return level if isinstance(level, str) else f"{factor}={formats.level(level)}"


def levels_title(levels: Levels) -> str:
    """Return the levels of a column as text."""
    return ", ".join(map(formats.level, levels))


def column_title(key: ColumnKey) -> str:
    """Return a column's data set and levels as text."""
    data_set, levels = key
    return " ".join([data_set, *map(formats.level, levels)])


def in_order(columns: Iterable[ColumnKey], data_sets: Iterable[str]) -> list[ColumnKey]:
    """Return columns by data set, and within a set by their numeric levels."""
    names = list(data_sets)

    def _rank(key: ColumnKey) -> tuple[int, tuple[float, ...]]:
        data_set, levels = key
        numbers = tuple(float(level) if isinstance(level, int | float) else 0.0 for level in levels)
        return names.index(data_set), numbers

    return sorted(columns, key=_rank)
