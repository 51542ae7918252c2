"""The config of a run's variant, to be trained again by itself."""

from collections.abc import Mapping
from typing import Any

from raysearch.core.errors import UserError, nearest
from raysearch.runs.study_record import StudyRecord
from raysearch.studies.configs import RunConfig, overrides, paths


def config_of_variant(record: StudyRecord, name: str | None, settings: Mapping[str, Any]) -> RunConfig:
    """A variant's config, as `study.json` keeps it.

    Args:
        record: what `study.json` holds.
        name: of the variant; None for the best of a search that found one best.
        settings: overrides by dotted path, on top; sizes in pixels are not scaled any more.

    Raises:
        UserError: no such variant, or no name where there is no single best.
    """
    variants = {variant.name: variant for variant in record.variants}
    if name is None:
        best = [best.variant for best in record.best if best.variant is not None]
        if len(best) != 1:
            known = "; ".join(f"'{one}'" for one in best or list(variants))
            raise UserError(f"--from needs --variant NAME; this run has {known or 'none yet'}")
        name = best[0]
    if name not in variants:
        raise UserError(f"this run has no variant '{name}'{nearest(name, variants)}")
    variant_settings = paths.flatten(variants[name].config)
    return overrides.resolve(str(record.task), {**variant_settings, **settings}, f"variant '{name}'")
