"""The config of a variant of a run, to train it again on its own."""

from collections.abc import Mapping
from typing import Any

from raysearch.core import UserError, nearest
from raysearch.runs.study_record import StudyRecord
from raysearch.studies.configs import RunConfig, overrides, paths


def config_of_variant(record: StudyRecord, name: str | None, settings: Mapping[str, Any]) -> RunConfig:
    """Return a variant's config, as `study.json` records it.

    Args:
        record: content of `study.json`.
        name: the variant's name; None for the best of a search that found one best.
        settings: overrides by dotted path. Sizes in pixels are not scaled again.

    Raises:
        UserError: there is no such variant, or `name` is None and there is no single best.
    """
    variants = {variant.name: variant for variant in record.variants}
    if name is None:
        best_names = [best.variant for best in record.best if best.variant is not None]
        if len(best_names) != 1:
            known = "; ".join(f"'{variant}'" for variant in best_names or list(variants))
            raise UserError(f"--from needs --variant NAME; this run has {known or 'none yet'}")
        name = best_names[0]
    if name not in variants:
        raise UserError(f"this run has no variant '{name}'{nearest(name, variants)}")
    variant_settings = paths.flatten(variants[name].config)
    return overrides.resolve(str(record.task), {**variant_settings, **settings}, f"variant '{name}'")
