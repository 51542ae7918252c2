"""Learned configs as trials of an Optuna study.

A learned trial is no config of the search: it has a number and a value, and no cell. The best known config is suggested
first. Its cells are then taken over, so it is a config like others, and can win. A note marks both kinds.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from raysearch.engine.drivers.learning.known_configs import LearnedConfig, best_configs
from raysearch.engine.drivers.space import SearchSpace
from raysearch.studies.design import Search
from raysearch.studies.design.search_methods import SAMPLERS

NOTE = "learned"  # user attribute: runs, settings, curves, and whether the config costs nothing


def first_suggestions(configs: Sequence[LearnedConfig], modes: Sequence[str]) -> list[LearnedConfig]:
    """Return the known configs that are tried first: the best ones that cost nothing, or else the best of all.

    Args:
        configs: that are known.
        modes: "max" or "min" per metric.
    """
    best = best_configs(configs, modes)
    return [config for config in best if config.is_whole] or best[:1]


def find_note(configs: Sequence[LearnedConfig], settings: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Return the user attributes that note what is known of settings; empty if nothing is.

    Args:
        configs: that are known.
        settings: of a config.
        metric: that a scheduler compares curves by.
    """
    return next((_note(config, metric) for config in configs if config.settings == settings), {})


def add_trials(
    study: optuna.Study, search: Search, space: SearchSpace, configs: Sequence[LearnedConfig], taken: Sequence[Any]
) -> None:
    """Add known configs to a study as trials that have ended, except those that it has.

    Args:
        study: without trials of its own.
        search: whose sampler learns.
        space: of the search.
        configs: that are known.
        taken: settings that the study tries itself, so that they do not count twice.
    """
    spec = SAMPLERS[search.sampler]
    if not spec.learns_from_added:
        return
    added = [trial.user_attrs[NOTE]["settings"] for trial in study.get_trials(deepcopy=False)]
    for config in configs:
        if config.settings in taken or config.settings in added:
            continue
        is_pruned = config.is_stopped and spec.learns_from_pruned
        distributions = space.locate(dict(config.settings)) or {}
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.PRUNED if is_pruned else TrialState.COMPLETE,
                values=None if is_pruned else config.values,
                params={path: config.settings[path] for path in distributions},
                distributions=distributions,
                user_attrs=_note(config, search.metrics[0]),
                intermediate_values=dict(config.reports),
            )
        )


def whole_settings(study: optuna.Study) -> list[dict[str, Any]]:
    """Return the settings of the configs whose cells other runs have finished, so that they cost nothing."""
    notes = [trial.user_attrs.get(NOTE) for trial in study.get_trials(deepcopy=False)]
    return [note["settings"] for note in notes if note and note["whole"]]


def cell_records(study: optuna.Study, metric: str) -> list[dict[str, Any]]:
    """Return the known cells as far as a scheduler needs them: cell, status, and history of a metric."""
    notes = [trial.user_attrs.get(NOTE) for trial in study.get_trials(deepcopy=False)]
    return [
        {"cell": cell, "status": status, "history": json.dumps([{metric: value} for value in curve])}
        for note in notes
        if note
        for cell, (status, curve) in note["curves"].items()
    ]


def is_learned(trial: FrozenTrial) -> bool:
    """Return whether a trial is that of another run, and none of the search's own."""
    return NOTE in trial.user_attrs and trial.state.is_finished() and "settings" not in trial.user_attrs


def _note(config: LearnedConfig, metric: str) -> dict[str, Any]:
    return {
        NOTE: {
            "runs": sorted({cell.run for cell in config.cells}),
            "settings": dict(config.settings),
            "whole": config.is_whole,
            "curves": {str(cell.row["cell"]): [cell.row["status"], cell.curve(metric)] for cell in config.cells},
        }
    }
