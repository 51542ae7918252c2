"""An ablation becomes cells: every variant with every seed."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from raysearch.core import UserError
from raysearch.studies.configs import RunConfig, overrides
from raysearch.studies.design.ablation import Ablation
from raysearch.studies.design.plan import REFERENCE, Cell, PlanRequest, StudyPlan, Variant, make_cell

Levels = Mapping[str, Mapping[str, Any]]  # factor name -> settings of its level, of the factors that a variant changes


@dataclass(frozen=True, kw_only=True)
class AblationPlan(StudyPlan):
    """All cells of an ablation, and what they are made from."""

    kind: ClassVar[Literal["ablation"]] = "ablation"

    ablation: Ablation
    variants: tuple[Variant, ...]
    references: Mapping[str, str]  # variant name -> name of the variant that it is compared with
    cells: tuple[Cell, ...]
    also: Mapping[str, tuple[Variant, ...]]  # variant name -> other settings of the factors with the same config

    @property
    def task(self) -> str:
        """Name of the task whose config the variants are."""
        return self.ablation.task

    @property
    def reference(self) -> Variant:
        """The variant that comes first."""
        return self.variants[0]

    @property
    def reference_config(self) -> RunConfig:
        """The config that all variants are compared with."""
        return self.reference.config

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the factors."""
        return tuple(factor.name for factor in self.ablation.factors)

    def for_data(self, content_hash: str) -> "AblationPlan":
        """Return the plan on another data set."""
        cells = _make_cells(self.variants, self.seeds, content_hash, self.workers)
        return replace(self, data=content_hash, cells=cells)

    def summary(self) -> str:
        """Return the number of cells."""
        return f"{len(self.cells)} cells"


def plan_requested(study: Ablation, request: PlanRequest) -> AblationPlan:
    """Plan an ablation as a command asks for it, for no data set yet; see `AblationPlan.for_data`.

    Raises:
        UserError: see `plan_ablation`; or a number of trials was given, which is for searches.
    """
    if request.trials is not None:
        raise UserError("--trials is for searches; an ablation runs each variant with each seed")
    narrowed = study.only(request.only) if request.only else study
    return plan_ablation(request.name, narrowed, request.profile, "", request.settings, request.seeds, request.workers)


def plan_ablation(
    name: str,
    study: Ablation,
    profile: str,
    data_hash: str,
    settings: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    workers: int = 1,
) -> AblationPlan:
    """Plan an ablation.

    Args:
        name: the study's name.
        study: the question, the factors and the design.
        profile: the name of a profile of the task, for example "laptop".
        data_hash: content hash of the data set.
        settings: overrides by dotted path, in the units of the config; on a factor's path they move the reference.
        seeds: number of seeds instead of the study's.
        workers: the number of workers that share each batch.

    Raises:
        UserError: unknown profile or path, a value or combination that cannot be, or two equal variants.
    """
    settings = dict(settings or {})
    base = overrides.start_from(study.task, study.profile(profile), settings)
    side = overrides.side(study.task, base)
    reference = overrides.scale_pixels(study.task, study.reference, side)
    moved = {path: value for path, value in settings.items() if path in reference}
    variants: dict[str, Variant] = {}  # by canonical config
    also: dict[str, tuple[Variant, ...]] = {}
    references: dict[str, str] = {}
    for declared in _variant_levels(study):
        scaled = {factor: overrides.scale_pixels(study.task, level, side) for factor, level in declared.items()}
        changed = {path: value for level in scaled.values() for path, value in level.items()}
        labels = _labels(study, declared)
        name_of_variant = _variant_name(study, declared, changed, {**reference, **moved}, labels)
        where = f"variant '{name_of_variant}'"
        config = overrides.resolve(study.task, {**base, **reference, **moved, **changed}, where)
        variant = Variant(
            name=name_of_variant,
            settings=_settings(study, config, declared) | labels,
            declared=_declared(study, declared, moved) | labels,
            config=config,
        )
        # References come first, each before the others of its block.
        known = variants.setdefault(json.dumps(config.canonical(), sort_keys=True), variant)
        if study.design == "leave_one_out" and known is not variant:
            raise UserError(f"{where} changes nothing: it is the same run as '{known.name}'")
        if variant.settings != known.settings:  # for example without regions, whose size then does not matter
            also[known.name] = (*also.get(known.name, ()), variant)
        references.setdefault(known.name, _reference_of(study, known, variants.values()))
    seed_list = tuple(study.seed_list(seeds))
    distinct = tuple(variants.values())
    return AblationPlan(
        study=name,
        profile=profile,
        ablation=study,
        data=data_hash,
        variants=distinct,
        references=references,
        seeds=seed_list,
        cells=_make_cells(distinct, seed_list, data_hash, workers),
        also=also,
        workers=workers,
    )


def _make_cells(variants: Sequence[Variant], seeds: Sequence[int], data: str, workers: int) -> tuple[Cell, ...]:
    """Return the cells seed by seed, so that an interrupted study has whole blocks to compare."""
    return tuple(make_cell(variant, seed, data, workers) for seed in seeds for variant in variants)


def _variant_levels(study: Ablation) -> Iterator[Levels]:
    """Yield what each variant changes. The reference, which changes nothing, comes first."""
    yield {}
    if study.design == "full":
        blocks = [factor for factor in study.factors if factor.name in study.within]
        if blocks:
            yield from _crossed(blocks)
        yield from _crossed(study.factors)
    else:
        for factor in study.factors:
            for level in factor.levels:
                yield {factor.name: level}


def _crossed(factors: Sequence[Any]) -> Iterator[Levels]:
    names = [factor.name for factor in factors]
    for levels in itertools.product(*(factor.levels for factor in factors)):
        yield dict(zip(names, levels, strict=True))


def _labels(study: Ablation, declared: Levels) -> dict[str, str]:
    """Return the labels of the variant's levels by factor name, for the factors whose levels have labels."""
    labels = {}
    for factor in study.factors:
        if factor.labels:
            level = declared.get(factor.name)
            label = factor.label(study.reference) if level is None else factor.labels[factor.levels.index(level)]
            labels[factor.name] = str(label)
    return labels


def _variant_name(
    study: Ablation,
    factors: Iterable[str],
    changed: Mapping[str, Any],
    reference: Mapping[str, Any],
    labels: Mapping[str, str],
) -> str:
    """Return the name of a variant.

    Args:
        study: the ablation.
        factors: names of the factors that the variant changes.
        changed: dotted path -> value that it sets.
        reference: dotted path -> value of the reference.
        labels: factor name -> label of its level.
    """
    if study.design == "leave_one_out" and changed:
        return "without " + ", ".join(factors)
    labelled = {path for factor in study.factors if factor.name in labels for path in factor.paths}
    different = {path: value for path, value in changed.items() if path not in reference or reference[path] != value}
    words = [*labels.values(), *(f"{path}={value}" for path, value in different.items() if path not in labelled)]
    return ", ".join(words) or REFERENCE


def _reference_of(study: Ablation, variant: Variant, before: Iterable[Variant]) -> str:
    """Return the name of the first variant with the same levels of the factors in `within`."""
    levels = [variant.settings[name] for name in study.within]
    return next(other.name for other in before if [other.settings[name] for name in study.within] == levels)


def _settings(study: Ablation, config: RunConfig, declared: Levels) -> dict[str, Any]:
    """Return the factor columns of the results that have no labels.

    A factor of one path has the config's value; a component of several settings is True (on) or False (off).
    """
    return {
        factor.name: overrides.get_path(config, factor.name)
        if factor.paths == (factor.name,)
        else factor.name not in declared
        for factor in study.factors
        if not factor.labels
    }


def _declared(study: Ablation, changed: Levels, moved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in the study file's units, without those that the user's overrides have moved."""
    declared = {**study.reference, **{path: value for level in changed.values() for path, value in level.items()}}
    return {path: value for path, value in declared.items() if path not in moved or path in changed}
