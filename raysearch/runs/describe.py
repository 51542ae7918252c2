"""What `study.json` says of a run before its first cell: the question, the settings, the data, the code."""

import json
from collections.abc import Mapping
from typing import Any

from raysearch.core import environment
from raysearch.data.shards import Manifest
from raysearch.storage import Location
from raysearch.studies.configs import TASKS, RunConfig
from raysearch.studies.design.ablation_plan import AblationPlan
from raysearch.studies.design.plan import Variant, pre_trainings
from raysearch.studies.design.search_plan import SearchPlan


def ablation(plan: AblationPlan) -> dict[str, Any]:
    """What is asked by an ablation."""
    asked = plan.ablation
    return {
        "kind": "ablation",
        **_study(plan.study, plan.profile, asked.question, asked.task, plan.seeds),
        "design": asked.design,
        "factors": list(plan.factors),
        "reference": plan.reference.name,
        "references": dict(plan.references),
        "metric": asked.metric,
        "mode": asked.mode,
        "published": asked.published,
        "variants": [
            {
                "name": variant.name,
                **_levels(variant),
                "config": json.loads(variant.config.model_dump_json()),
                "also": [_levels(one) for one in plan.also.get(variant.name, ())],
            }
            for variant in plan.variants
        ],
        "cells": [{"cell": cell.hash, "variant": cell.variant.name, "seed": cell.seed} for cell in plan.cells],
        "starts": [
            {"cell": cell.hash, "variant": cell.variant.name, "seed": cell.seed} for cell in pre_trainings(plan.cells)
        ],
    }


def search(plan: SearchPlan, space: Mapping[str, str]) -> dict[str, Any]:
    """What is asked by a search; its variants and cells come to be while it runs.

    Args:
        plan: of the search.
        space: path -> distribution in words.
    """
    asked = plan.search
    return {
        "kind": "search",
        **_study(plan.study, plan.profile, asked.question, asked.task, plan.seeds),
        "metrics": asked.metrics,
        "modes": asked.modes,
        "metric": asked.judge_metric,
        "mode": "max",
        "reference": plan.reference(plan.groups[0]).name,
        "budget": plan.trials,
        "sampler": asked.sampler,
        "sampler_options": dict(asked.sampler_options),
        "scheduler": asked.scheduler,
        "scheduler_options": dict(asked.scheduler_options),
        "space": dict(space),
        "group": asked.group.name if asked.group else None,
        "judge_seeds": asked.judging_seeds(list(plan.seeds)),
        "published": None,
        "factors": [],
        "variants": [],
        "cells": [],
        "best": [],
    }


def surroundings(
    manifest: Manifest, directory: Location, settings: Mapping[str, Any], reason: str, command: str, config: RunConfig
) -> dict[str, Any]:
    """Data, settings and code, of any study.

    Args:
        manifest: of the shards.
        directory: of the shards.
        settings: the user's overrides.
        reason: why the profile is this one.
        command: to run it again.
        config: of the reference.
    """
    return {
        "profile_reason": reason,
        "chance": config.chance(manifest.counts),
        "settings": dict(settings),
        "command": command,
        "data": {
            "name": manifest.name,
            "layout": manifest.layout,
            "path": str(directory),
            "content_hash": manifest.content_hash,
            "images": manifest.images,
            "classes": len(manifest.classes),
            "counts": {split: sum(counts) for split, counts in manifest.counts.items()},
        },
        "code_version": TASKS[config.task].version,
        "versions": environment.versions(),
    }


def _levels(variant: Variant) -> dict[str, Any]:
    return {"settings": dict(variant.settings), "declared": dict(variant.declared)}


def _study(name: str, profile: str, question: str, task: str, seeds: tuple[int, ...]) -> dict[str, Any]:
    return {"study": name, "question": question, "profile": profile, "task": task, "seeds": list(seeds)}
