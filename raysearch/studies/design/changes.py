"""The changes between two configs: which settings differ, which of them matter, and which travel together.

A setting is conditional on another one if the configs that a search tried have it for some values of the other, and
lack it for the rest, such as `esrl.erased` where `srem.regions` is above 0. It travels with the other one where the
reference lacks it: alone it would be a config outside of the space.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from raysearch.core import UserError
from raysearch.studies.configs import RunConfig, flatten, overrides
from raysearch.studies.design.explanation_plan import Change

Settings = Mapping[str, Any]  # dotted path -> value


def find_changes(
    reference: RunConfig, best: RunConfig, searched: Sequence[str], tried: Sequence[Settings]
) -> tuple[Change, ...]:
    """Return the changes from a reference to the best config of a search.

    Args:
        reference: the config that the search started from.
        best: the config that it chose.
        searched: the paths of the space, in their order.
        tried: the settings of every config that the search tried.
    """
    before = flatten(reference.model_dump(mode="json"))
    after = flatten(best.model_dump(mode="json"))
    differing = [path for path in after if before.get(path) != after[path]]
    order = [path for path in searched if path in differing]
    order += [path for path in differing if path not in order]
    paths = _without_idle(order, before, after, best)
    groups: dict[str, list[str]] = {path: [path] for path in paths}
    for path in paths:
        leader = _find_leader(path, paths, before, tried)
        while leader is not None and leader not in groups:  # it travels itself
            leader = next(name for name, members in groups.items() if leader in members)
        if leader is not None and leader != path and path in groups:
            groups[leader] += groups.pop(path)
    return tuple(
        Change(
            " + ".join(members),
            {path: before.get(path) for path in members},
            {path: after[path] for path in members},
        )
        for name, members in groups.items()
    )


def _without_idle(paths: Sequence[str], before: Settings, after: Settings, best: RunConfig) -> list[str]:
    """Return the paths without those that do not matter in the best config, such as the size of no regions."""
    kept = list(paths)
    canonical = best.canonical()
    settings = dict(after)
    for path in paths:
        without = {name: value for name, value in {**settings, path: before.get(path)}.items() if name in before}
        try:
            config = overrides.resolve(best.task, without)
        except UserError:  # the other settings need it
            continue
        if config.canonical() == canonical:
            settings = without
            kept.remove(path)
    return kept


def _find_leader(path: str, paths: Sequence[str], before: Settings, tried: Sequence[Settings]) -> str | None:
    """Return the path that a path is conditional on, if the reference is on the side that lacks it; else None."""
    having = [settings for settings in tried if path in settings]
    lacking = [settings for settings in tried if path not in settings]
    if not having or not lacking:
        return None
    for other in paths:
        if other == path or not all(other in settings for settings in having):
            continue
        with_it = [settings[other] for settings in having]
        without_it = [settings[other] for settings in lacking if other in settings]
        if without_it and _on_other_side(before.get(other), with_it, without_it):
            return other
    return None


def _on_other_side(value: Any, with_it: Sequence[Any], without_it: Sequence[Any]) -> bool:
    """Return whether values are of two kinds, and a value is of the second.

    >>> _on_other_side(0, [3, 50], [0, 1]), _on_other_side(60, [3, 50], [0, 1]), _on_other_side(0, [3, 50], [10])
    (True, False, False)
    >>> _on_other_side("asym", ["sym"], ["asym", "none"])
    True
    """
    if all(isinstance(level, int | float) and not isinstance(level, bool) for level in [value, *with_it, *without_it]):
        if max(without_it) < min(with_it):
            return bool(value < min(with_it))
        if min(without_it) > max(with_it):
            return bool(value > max(with_it))
        return value in without_it and not set(with_it) & set(without_it)
    return not any(level in with_it for level in [value, *without_it])
