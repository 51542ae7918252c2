"""An ablation becomes cells: every variant with every seed."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from raysearch.core import Problems, UserError
from raysearch.studies.configs import RunConfig, overrides, replace_values, settle_profile
from raysearch.studies.design import level_names, variant_names
from raysearch.studies.design.ablation import Ablation
from raysearch.studies.design.adaptive_seeds import Adaptive
from raysearch.studies.design.plan import (
    CPU,
    REFERENCE,
    Cell,
    Device,
    PlanRequest,
    StudyPlan,
    Variant,
    in_variants,
    make_cell,
)
from raysearch.studies.design.seed_requests import Seeds
from raysearch.studies.design.variant_names import Levels


@dataclass(frozen=True, kw_only=True)
class AblationPlan(StudyPlan):
    """All cells of an ablation, and what they are made from."""

    kind: ClassVar[Literal["ablation"]] = "ablation"

    ablation: Ablation
    variants: tuple[Variant, ...]
    references: Mapping[str, str]  # variant name -> name of the variant that it is compared with
    cells: tuple[Cell, ...]
    also: Mapping[str, tuple[Variant, ...]]  # variant name -> other settings of the factors with the same config
    comparisons_of_whole: int | None = None  # of the whole study, if `--only` selected a part of it
    whole: "AblationPlan | None" = None  # the plan of the whole study, if `--only` selected a part of it
    adaptive: Adaptive | None = None  # looks of an adaptive study, whose cells are those of its last look at most

    @property
    def definition(self) -> Ablation:
        """The study that is planned."""
        return self.ablation

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
    def comparisons(self) -> int:
        """Number of comparisons of the whole study, whatever part of it runs: the family of Holm's correction."""
        planned = sum(name != reference for name, reference in self.references.items())
        return max(planned, self.comparisons_of_whole or 0)

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the factors."""
        return tuple(factor.name for factor in self.ablation.factors)

    def for_data(self, content_hash: str, device: Device | None = None) -> "AblationPlan":
        """Return the plan on another data set, on the same kind of device unless another is given."""
        device = device or self.device
        cells = _make_cells(self.variants, self.seeds, content_hash, self.workers, device)
        whole = self.whole.for_data(content_hash, device) if self.whole else None
        return replace(self, data=content_hash, device=device, cells=cells, whole=whole)

    def with_cells_of(self, hashes: Iterable[str], seeds: Iterable[int]) -> "AblationPlan":
        """Return this plan with further cells of the whole study, such as those that ended in an earlier call.

        Args:
            hashes: of the cells. Those that the study does not have, such as those of a removed level, are left out.
            seeds: that the cells may have.
        """
        whole = self.whole or self
        wanted = {*hashes, *(cell.hash for cell in self.cells)}
        all_seeds = tuple(dict.fromkeys([*self.seeds, *seeds]))
        possible = _make_cells(whole.variants, all_seeds, self.data, self.workers, self.device)
        cells = tuple(cell for cell in possible if cell.hash in wanted)
        if not {cell.hash for cell in self.cells} <= {cell.hash for cell in cells}:
            return self  # a part that the whole study does not have as such
        names = {cell.variant.name for cell in cells}
        variants = tuple(variant for variant in whole.variants if variant.name in names)
        return replace(
            whole,
            variants=variants,
            references={name: other for name, other in whole.references.items() if name in names},
            also={name: others for name, others in whole.also.items() if name in names},
            seeds=tuple(seed for seed in all_seeds if any(cell.seed == seed for cell in cells)),
            cells=cells,
            comparisons_of_whole=max(whole.comparisons, self.comparisons),
            whole=whole,
        )

    def summary(self) -> str:
        """Return the number of cells."""
        return f"{'at most ' if self.adaptive else ''}{len(self.cells)} cells"


def plan_requested(study: Ablation, request: PlanRequest) -> AblationPlan:
    """Plan an ablation as a command asks for it, for no data set yet; see `AblationPlan.for_data`.

    Raises:
        UserError: see `plan_ablation`; or a number of trials was given, which is for searches.
    """
    if request.trials is not None:
        raise UserError("--trials is for searches; an ablation runs each variant with each seed")
    narrowed = study.only(request.only) if request.only else study
    plan = plan_ablation(request.name, narrowed, request.profile, "", request.settings, request.seeds, request.workers)
    if not request.only:
        return plan
    try:
        whole = plan_ablation(
            request.name, study, request.profile, "", request.settings, request.seeds, request.workers
        )
    except UserError:  # the part may be the only one that can be planned
        return replace(plan, comparisons_of_whole=len(list(_variant_levels(study))) - 1)
    return replace(plan, comparisons_of_whole=whole.comparisons, whole=whole)


def plan_ablation(
    name: str,
    study: Ablation,
    profile: str,
    data_hash: str,
    settings: Mapping[str, Any] | None = None,
    seeds: Seeds | None = None,
    workers: int = 1,
) -> AblationPlan:
    """Plan an ablation.

    Args:
        name: the study's name.
        study: the question, the factors and the design.
        profile: the name of a profile of the task, for example "laptop".
        data_hash: content hash of the data set.
        settings: overrides by dotted path, in the units of the config; on a factor's path they move the reference.
        seeds: number of seeds, or looks, instead of the study's.
        workers: the number of workers that share each batch.

    Raises:
        UserError: unknown profile or path, a value or combination that cannot be, or two equal variants.
    """
    settings = dict(settings or {})
    base = overrides.start_from(study.task, study.profile(profile), settings)
    side = overrides.side(study.task, base)
    reference = overrides.scale_pixels(study.task, study.reference, side)
    moved = {path: value for path, value in settings.items() if path in reference}
    stronger = {*study.base, *study.profiles.get(profile, {}), *reference, *settings}

    def _settle(changed: Mapping[str, Any]) -> dict[str, Any]:
        whole = {**base, **reference, **moved, **changed}
        return settle_profile(study.task, profile, whole, {*stronger, *changed})

    resolved = _resolve_variants(study, _settle, side)
    reference_config = resolved[0][1]
    shown = variant_names.ShownValues([config for _, config, _ in resolved])
    variants: dict[str, Variant] = {}  # by what decides the outcome
    also: dict[str, tuple[Variant, ...]] = {}
    references: dict[str, str] = {}
    for declared, config, identity in resolved:
        labels = variant_names.labels_of(study, declared, moved, config, side)
        variant = Variant(
            name=variant_names.name_variant(study, declared, config, reference_config, labels, shown),
            settings=variant_names.columns_of(study, config, declared, shown) | labels,
            declared=_declared(study, declared, moved) | labels,
            config=config,
        )
        # References come first, each before the others of its block.
        known = variants.setdefault(identity, variant)
        if study.design == "leave_one_out" and known is not variant:
            raise UserError(f"variant '{variant.name}' changes nothing: it is the same run as '{known.name}'")
        if variant.settings != known.settings:  # for example without regions, whose size then does not matter
            also[known.name] = (*also.get(known.name, ()), variant)
        references.setdefault(known.name, _reference_of(study, known, variants.values()))
    requested = study.seeds if seeds is None else seeds
    adaptive = requested if isinstance(requested, Adaptive) else None
    count = seeds if isinstance(seeds, int) else None
    seed_list = tuple(study.seed_list(adaptive.most_seeds if adaptive else count))
    distinct = tuple(variants.values())
    variant_names.check_variant_names(distinct)
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
        settings=settings,
        adaptive=adaptive,
    )


def _resolve_variants(
    study: Ablation, settle: Callable[[Mapping[str, Any]], dict[str, Any]], side: int
) -> list[tuple[Levels, RunConfig, str]]:
    """Return what each variant changes, its config, and what decides its outcome.

    Args:
        study: the ablation.
        settle: returns all settings of a variant, in the units of the config, from those that it changes.
        side: of the images, to which sizes in pixels are scaled.

    Raises:
        UserError: values or combinations that cannot be; a mistake of several variants is reported once.
    """
    resolved = []
    failures: dict[str, list[str]] = {}  # mistake -> variants
    for declared in _variant_levels(study):
        changed = _changed(study, declared, side)
        name = level_names.describe_settings(changed) or REFERENCE
        where = f"variant '{name}'"
        try:
            config = overrides.resolve(study.task, settle(changed), where)
            _check_levels_hold(study, declared, config, side)
            identity = json.dumps(replace_values(config.canonical(), config.identities), sort_keys=True)
        except UserError as error:
            for message in error.messages:
                failures.setdefault(message.removeprefix(f"{where}: "), []).append(name)
            continue
        resolved.append((declared, config, identity))
    problems = Problems()
    problems.add(*(in_variants(names, message) for message, names in failures.items()))
    problems.raise_all()
    return resolved


def _changed(study: Ablation, declared: Levels, side: int) -> dict[str, Any]:
    """Return the settings that a variant changes, in the units of the config."""
    scaled = (overrides.scale_pixels(study.task, level, side) for level in declared.values())
    return {path: value for level in scaled for path, value in level.items()}


def _check_levels_hold(study: Ablation, declared: Levels, config: RunConfig, side: int) -> None:
    """Check that no factor of a variant undoes the level of another, so that the results' columns are true.

    Raises:
        UserError: two factors set one path to different values.
    """
    for factor, level in declared.items():
        if not level_names.holds(level, config, side):
            changed = [path for path in level if not level_names.holds({path: level[path]}, config, side)]
            others = [name for name, other in declared.items() if name != factor and set(changed) & set(other)]
            raise UserError(
                f"factors '{factor}' and '{others[0] if others else factor}' both set '{changed[0]}'; "
                "join them into one choice()"
            )


def _make_cells(
    variants: Sequence[Variant], seeds: Sequence[int], data: str, workers: int, device: Device = CPU
) -> tuple[Cell, ...]:
    """Return the cells seed by seed, so that an interrupted study has whole blocks to compare."""
    return tuple(make_cell(variant, seed, data, workers, device=device) for seed in seeds for variant in variants)


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


def _reference_of(study: Ablation, variant: Variant, before: Iterable[Variant]) -> str:
    """Return the name of the first variant with the same levels of the factors in `within`."""
    levels = [variant.settings[name] for name in study.within]
    return next(other.name for other in before if [other.settings[name] for name in study.within] == levels)


def _declared(study: Ablation, changed: Levels, moved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in the study file's units, without those that the user's overrides have moved."""
    declared = {**study.reference, **{path: value for level in changed.values() for path, value in level.items()}}
    return {path: value for path, value in declared.items() if path not in moved or path in changed}
