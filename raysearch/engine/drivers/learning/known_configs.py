"""Cells of other runs as configs of a search: which count, the value of each config, and why others are left out.

A cell counts if the search itself would run it under the same hash, with another seed at most. So data, code, fixed
settings, workers and device are the same. Four rules keep a search honest:

- Only the metrics of the search count. They come from the held-out part of train.
- Cells with the seeds of the final evaluation are left out, because these seeds choose nothing.
- A config's value is the mean over its seeds that count.
- Times are not learned: another load of the machine changes them.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from raysearch.core import UserError
from raysearch.engine.drivers.earlier_configs import reported_values
from raysearch.engine.drivers.learning.other_runs import OtherCell, OtherRuns, is_number
from raysearch.engine.drivers.space import SearchSpace
from raysearch.studies.analysis import devices
from raysearch.studies.configs import overrides, paths
from raysearch.studies.design import Group, SearchPlan, Variant

_FIXED = "with other fixed settings"
_OUTSIDE = "outside the space"


@dataclass(frozen=True)
class LearnedConfig:
    """A config of the search that other runs know.

    Attributes:
        settings: dotted path -> value, as the space would suggest them.
        cells: that count, in the order of their seeds; those that finished, or those that were stopped early.
        values: mean of each metric of the search over the seeds; of a stopped config, of the last values.
        is_stopped: whether a scheduler stopped it early.
        reports: step -> first metric, of the first seed.
        is_whole: whether the search would take all its cells over, so that it costs nothing.
    """

    settings: Mapping[str, Any]
    cells: Sequence[OtherCell]
    values: Sequence[float]
    is_stopped: bool
    reports: Mapping[int, float]
    is_whole: bool


@dataclass(frozen=True)
class Knowledge:
    """What is known of a group of a search.

    Attributes:
        configs: in the order of the runs.
        left_out: reason -> number of cells.
    """

    configs: Sequence[LearnedConfig] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def runs(self) -> dict[str, int]:
        """Directory of a run -> number of its cells that count."""
        return dict(Counter(cell.run for config in self.configs for cell in config.cells))


def learn(plan: SearchPlan, group: Group, space: SearchSpace, runs: OtherRuns, adopts: bool = True) -> Knowledge:
    """Return the configs of a group that other runs know.

    Args:
        plan: the plan that cells are made from.
        group: of the search.
        space: of the search.
        runs: the other runs.
        adopts: whether the search takes over cells that it finds.
    """
    search = plan.search
    if search.trains_population or any(map(devices.is_time, search.metrics)):
        return Knowledge()
    finder = _ConfigFinder(plan, group, space)
    cells: dict[str, dict[str, OtherCell]] = {}  # config -> hash -> cell
    settings: dict[str, dict[str, Any]] = {}
    reasons: dict[str, str] = {}  # hash -> why the cell is left out
    for cell in runs.cells:
        name = str(cell.row["cell"])
        config = finder.find(cell)
        if isinstance(config, str):
            reasons.setdefault(name, config)
            continue
        cells.setdefault(config.name, {}).setdefault(name, cell)
        searched = {path: value for path, value in config.declared.items() if path not in group.settings}
        settings.setdefault(config.name, searched)
    known = {name for of_config in cells.values() for name in of_config}
    left_out = Counter(reason for name, reason in reasons.items() if name not in known)
    configs = [
        _summarize(plan, settings[name], list(of_config.values()), finder.tuning_cells(name) if adopts else ())
        for name, of_config in cells.items()
    ]
    return Knowledge(configs, {**runs.left_out, **left_out})


def best_configs(configs: Sequence[LearnedConfig], modes: Sequence[str]) -> list[LearnedConfig]:
    """Return the configs that no other beats in all metrics; of equals the first.

    Args:
        configs: of a search.
        modes: "max" or "min" per metric.
    """
    signs = [1 if mode == "max" else -1 for mode in modes]
    scored = [
        ([sign * value for sign, value in zip(signs, config.values, strict=True)], config)
        for config in configs
        if not config.is_stopped
    ]
    best: list[tuple[list[float], LearnedConfig]] = []
    for scores, config in scored:
        if not any(all(other >= own for other, own in zip(others, scores, strict=True)) for others, _ in best):
            worse = [entry for entry in best if all(a <= b for a, b in zip(entry[0], scores, strict=True))]
            best = [entry for entry in best if entry not in worse] + [(scores, config)]
    return [config for _, config in best]


class _ConfigFinder:
    """Finds the config of a group that a cell belongs to.

    Args:
        plan: the plan that cells are made from.
        group: of the search.
        space: of the search.
    """

    def __init__(self, plan: SearchPlan, group: Group, space: SearchSpace) -> None:
        self._plan = plan
        self._group = group
        self._space = space
        self._judging = set(plan.search.judging_seeds(list(plan.seeds)))
        reference = plan.reference(group).config
        self._side = reference.images.side
        # Settings that do not matter in a config are not recorded: any value is right, such as the reference's.
        self._defaults = self._declared(paths.flatten(reference.model_dump(mode="json")))
        self._variants: dict[tuple[str, str], Variant | str] = {}
        self._by_name: dict[str, Variant] = {}

    def find(self, cell: OtherCell) -> Variant | str:
        """Return the config of a cell under a name that is its own, or why the cell does not count."""
        row = cell.row
        metrics = self._plan.search.metrics
        if row["seed"] in self._judging:
            return "with a seed of the final evaluation"
        if row["status"] == "stopped" and len(metrics) > 1:
            return "stopped early"
        for metric in metrics:
            if not is_number(row.get(metric)):
                return f"without {metric}"
        key = (str(row.get("config")), json.dumps(dict(cell.declared), sort_keys=True, default=str))
        if key not in self._variants:
            self._variants[key] = self._variant(cell)
        variant = self._variants[key]
        if isinstance(variant, str) or self._plan.cell(variant, row["seed"]).hash == row["cell"]:
            return variant
        return "of other code, data, workers or device"

    def tuning_cells(self, name: str) -> set[str]:
        """Return the hashes of the cells that the search runs of a config."""
        return {self._plan.cell(self._by_name[name], seed).hash for seed in self._plan.seeds}

    def _variant(self, cell: OtherCell) -> Variant | str:
        try:
            cell.history()
            recorded = json.loads(cell.row.get("config") or "{}")
            values = {**self._defaults, **self._declared(paths.flatten(recorded)), **cell.declared}
            settings = self._space.settings_from(values)
            if settings is None or self._space.locate(settings) is None:
                return _OUTSIDE
            variant = self._plan.variant(self._group, "known", settings, recorded=True)
        except UserError:  # such as a combination that cannot be
            return _OUTSIDE
        except (AttributeError, TypeError, ValueError, RecursionError):
            return "that cannot be read"
        # Settings that differ only where they do not matter give the same config.
        name = json.dumps(variant.config.canonical(), sort_keys=True)
        if name != json.dumps(recorded, sort_keys=True):
            in_group = all(values.get(path) == value for path, value in self._group.settings.items())
            return _FIXED if in_group else "of another group"
        self._by_name[name] = replace(variant, name=name)
        return self._by_name[name]

    def _declared(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return overrides.unscale_pixels(self._plan.task, values, self._side)


def _summarize(
    plan: SearchPlan, settings: Mapping[str, Any], cells: Sequence[OtherCell], tuning: Collection[str]
) -> LearnedConfig:
    """Return a config with its mean over the seeds that finished; if none did, with its curve.

    Args:
        plan: of the search.
        settings: of the config.
        cells: that count.
        tuning: hashes of the cells that the search would take over; empty if it takes none.
    """
    ended = sorted(cells, key=lambda cell: cell.row["seed"])
    finished = [cell for cell in ended if cell.row["status"] == "finished"]
    counted = finished or ended
    metrics = plan.search.metrics
    means = [sum(cell.row[metric] for cell in counted) / len(counted) for metric in metrics]
    return LearnedConfig(
        settings=settings,
        cells=counted,
        values=means,
        is_stopped=not finished,
        reports=reported_values(metrics, counted[0].row),
        is_whole=bool(tuning) and set(tuning) <= {cell.row["cell"] for cell in finished},
    )
