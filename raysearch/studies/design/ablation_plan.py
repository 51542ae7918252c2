"""An ablation becomes cells: every variant with every seed."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from raysearch.core.errors import UserError
from raysearch.studies.configs import RunConfig, overrides
from raysearch.studies.design.ablation import Ablation
from raysearch.studies.design.plan import REFERENCE, Cell, Variant, make_cell


@dataclass(frozen=True)
class AblationPlan:
    """All cells of a study and what they were made from."""

    study: str
    profile: str
    ablation: Ablation
    data: str  # the data set's content hash
    variants: tuple[Variant, ...]
    references: Mapping[str, str]  # variant name -> name of the one that it is compared with
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    also: Mapping[str, tuple[Variant, ...]]  # variant name -> other settings of the factors with the same config

    @property
    def reference(self) -> Variant:
        return self.variants[0]

    @property
    def factors(self) -> tuple[str, ...]:
        return tuple(factor.name for factor in self.ablation.factors)


def plan_ablation(
    name: str,
    study: Ablation,
    profile: str,
    data_hash: str,
    settings: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    workers: int = 1,
) -> AblationPlan:
    """Plan a study.

    Args:
        name: the study's name.
        study: what is asked.
        profile: "laptop" or "paper".
        data_hash: content hash of the data set.
        settings: overrides by dotted path, in the units of the config; on a factor's path they move the reference.
        seeds: number of seeds instead of the study's.
        workers: that share each batch.

    Raises:
        UserError: a path, value or combination that cannot be.
    """
    settings = dict(settings or {})
    base = overrides.start_from(study.task, study.profile(profile), settings)
    side = overrides.side(study.task, base)
    reference = overrides.scale_pixels(study.task, study.reference, side)
    moved = {path: value for path, value in settings.items() if path in reference}
    variants: dict[str, Variant] = {}
    also: dict[str, tuple[Variant, ...]] = {}
    references: dict[str, str] = {}
    for declared in _settings(study):
        scaled = {factor: overrides.scale_pixels(study.task, level, side) for factor, level in declared.items()}
        changed = {path: value for level in scaled.values() for path, value in level.items()}
        labels = _labels(study, declared)
        label = _name(study, declared, changed, {**reference, **moved}, labels)
        config = overrides.resolve(study.task, {**base, **reference, **moved, **changed}, f"variant '{label}'")
        variant = Variant(
            name=label,
            settings=_values(study, config, declared) | labels,
            declared=_declared(study, declared, moved) | labels,
            config=config,
        )
        # References come first, each before the others of its block.
        known = variants.setdefault(json.dumps(config.canonical(), sort_keys=True), variant)
        if study.design == "leave_one_out" and known is not variant:
            raise UserError(f"variant '{label}' changes nothing: it is the same run as '{known.name}'")
        if variant.settings != known.settings:  # without regions their size is nothing to set
            also[known.name] = (*also.get(known.name, ()), variant)
        references.setdefault(known.name, _reference_of(study, known, variants.values()))
    seed_list = study.seed_list(seeds)
    cells = tuple(
        make_cell(variant, seed, data_hash, workers)
        for seed in seed_list  # seed by seed, so that an interrupted study has whole blocks to compare
        for variant in variants.values()
    )
    return AblationPlan(
        name, profile, study, data_hash, tuple(variants.values()), references, tuple(seed_list), cells, also
    )


def _settings(study: Ablation) -> Iterator[dict[str, Mapping[str, Any]]]:
    """What each variant changes: factor name -> settings; nothing for the reference, which comes first."""
    yield {}
    if study.design == "full":
        blocks = [factor for factor in study.factors if factor.name in study.within]
        for levels in itertools.product(*(factor.levels for factor in blocks)) if blocks else ():
            yield {factor.name: level for factor, level in zip(blocks, levels, strict=True)}
        for levels in itertools.product(*(factor.levels for factor in study.factors)):
            yield {factor.name: level for factor, level in zip(study.factors, levels, strict=True)}
    else:
        for factor in study.factors:
            for level in factor.levels:
                yield {factor.name: level}


def _labels(study: Ablation, declared: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Factor name -> label of the variant's level, of the factors whose levels have labels."""
    labels = {}
    for one in study.factors:
        if one.labels:
            own = declared.get(one.name)
            labels[one.name] = str(one.label(study.reference) if own is None else one.labels[one.levels.index(own)])
    return labels


def _name(
    study: Ablation,
    factors: Iterable[str],
    changed: Mapping[str, Any],
    reference: Mapping[str, Any],
    labels: Mapping[str, str],
) -> str:
    if study.design == "leave_one_out" and changed:
        return "without " + ", ".join(factors)
    told = {path for one in study.factors if one.name in labels for path in one.paths}
    different = {path: value for path, value in changed.items() if path not in reference or reference[path] != value}
    words = [*labels.values(), *(f"{path}={value}" for path, value in different.items() if path not in told)]
    return ", ".join(words) or REFERENCE


def _reference_of(study: Ablation, variant: Variant, before: Iterable[Variant]) -> str:
    """The first variant with the same levels of the factors that each have a reference of their own."""
    levels = [variant.settings[name] for name in study.within]
    return next(one.name for one in before if [one.settings[name] for name in study.within] == levels)


def _values(study: Ablation, config: RunConfig, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Factor columns of the results without a label: the config's value, on/off for a component of several settings.

    Args:
        study: what is asked.
        config: of the variant.
        declared: factor name -> settings, of what the variant changes.
    """
    return {
        one.name: overrides.get_path(config, one.name) if one.paths == (one.name,) else one.name not in declared
        for one in study.factors
        if not one.labels
    }


def _declared(study: Ablation, changed: Mapping[str, Mapping[str, Any]], moved: Mapping[str, Any]) -> dict[str, Any]:
    declared = {**study.reference, **{path: value for level in changed.values() for path, value in level.items()}}
    return {path: value for path, value in declared.items() if path not in moved or path in changed}
