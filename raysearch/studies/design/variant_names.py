"""Names of variants, and their columns in the results. Both follow from what runs, and no two variants share a name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.studies.configs import RunConfig, overrides
from raysearch.studies.design import ablation, level_names, plan

Levels = Mapping[str, Mapping[str, Any]]  # factor name -> settings of its level, of the factors that a variant changes


class ShownValues:
    """Values of configs as names and results hold them. A path of a file is short where that is clear.

    Args:
        configs: of all variants.
    """

    def __init__(self, configs: Sequence[RunConfig]) -> None:
        self._configs = configs

    def value(self, config: RunConfig, path: str) -> Any:
        """Return the value at a dotted path; of a file its name, unless another file has the same name."""
        value = overrides.get_path(config, path)
        if not isinstance(value, str) or not Path(value).is_absolute():
            return value
        others = {overrides.get_path(other, path) for other in self._configs} - {value}
        names = {Path(other).name for other in others if isinstance(other, str)}
        return value if Path(value).name in names else Path(value).name


def name_variant(
    study: ablation.Ablation,
    declared: Levels,
    config: RunConfig,
    reference: RunConfig,
    labels: Mapping[str, str],
    shown: ShownValues,
) -> str:
    """Return the name of a variant, which follows from what runs.

    Args:
        study: the ablation.
        declared: what the variant changes.
        config: the config that runs.
        reference: the config of the reference.
        labels: factor name -> label of its level.
        shown: values as names hold them.
    """
    if study.design == "leave_one_out" and declared:
        return "without " + ", ".join(declared)
    words = list(labels.values())
    unlabelled = [factor for factor in study.factors if not factor.labels]
    paths = [path for factor in unlabelled if factor.name in declared for path in declared[factor.name]]
    words += [
        f"{path}={level_names.format_value(shown.value(config, path))}"
        for path in dict.fromkeys(paths)
        if overrides.get_path(config, path) != overrides.get_path(reference, path)
    ]
    return ", ".join(words) or plan.REFERENCE


def labels_of(
    study: ablation.Ablation, declared: Levels, moved: Mapping[str, Any], config: RunConfig, side: int
) -> dict[str, str]:
    """Return the labels of a variant's levels by factor name, for the factors whose levels have labels.

    The variant's own level has its label. Of the other factors the config decides, which `--set` may have moved.
    """
    labels = {}
    for factor in study.factors:
        if factor.labels and factor.name in declared:
            labels[factor.name] = factor.labels[factor.levels.index(declared[factor.name])]
        elif factor.labels:
            labels[factor.name] = level_names.label_in_config(factor, study.reference, config, side)
    return labels


def columns_of(study: ablation.Ablation, config: RunConfig, declared: Levels, shown: ShownValues) -> dict[str, Any]:
    """Return the factor columns of the results that have no labels.

    A factor of one path has the config's value; a component of several settings is True (on) or False (off).
    """
    return {
        factor.name: shown.value(config, factor.name) if factor.paths == (factor.name,) else factor.name not in declared
        for factor in study.factors
        if not factor.labels
    }


def check_variant_names(variants: Sequence[plan.Variant]) -> None:
    """Check that every variant has a name of its own.

    Raises:
        UserError: two variants have one name.
    """
    by_name: dict[str, plan.Variant] = {}
    for variant in variants:
        other = by_name.setdefault(variant.name, variant)
        if other is not variant:
            paths = [path for path in overrides.known_paths(variant.config.task)
                     if overrides.get_path(variant.config, path) != overrides.get_path(other.config, path)]  # fmt: skip
            raise UserError(
                f"two variants are called '{variant.name}', and differ in {', '.join(paths)}; rename a label, or give "
                "the factor labels with choice()"
            )
