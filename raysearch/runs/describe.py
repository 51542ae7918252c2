"""The record of a new run before its first cell: the question, the settings, the data, the code."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from raysearch.core import environment
from raysearch.data.shards import Manifest
from raysearch.runs.study_record import (
    CellRecord,
    ChangeRecord,
    DataRecord,
    DataSetRecord,
    ExplainedGroupRecord,
    ExplanationRecord,
    LevelsRecord,
    Mode,
    StudyRecord,
    Surroundings,
    VariantRecord,
)
from raysearch.storage import LocationLike
from raysearch.studies.configs import TASKS, RunConfig
from raysearch.studies.design import AblationPlan, Cell, ExplanationPlan, SearchPlan, Variant, pre_trainings, user_tasks


def describe_ablation(plan: AblationPlan, surroundings: Surroundings | None = None) -> StudyRecord:
    """Return the record of an ablation.

    Args:
        plan: all variants and cells.
        surroundings: data, settings and code; None leaves them out.
    """
    study = plan.ablation
    record = StudyRecord(
        **_common_fields(plan, study.question, surroundings),
        design=study.design,
        factors=list(plan.factors),
        within=list(study.within),
        reference=plan.reference.name,
        references=dict(plan.references),
        metric=study.metric,
        mode=study.mode,
        published=study.published,
        comparisons=plan.comparisons,
        variants=[
            VariantRecord(
                name=variant.name,
                settings=dict(variant.settings),
                declared=dict(variant.declared),
                **({} if variant.data_set is None else {"data_set": variant.data_set}),
                config=json.loads(variant.config.model_dump_json()),
                also=[_levels(other) for other in plan.also.get(variant.name, ())],
            )
            for variant in plan.variants
        ],
        cells=[_cell(cell) for cell in plan.cells],
        starts=[_cell(cell) for cell in pre_trainings(plan.cells)],
    )
    if plan.adaptive is not None:
        record.looks = list(plan.adaptive.looks)
        record.margin = plan.adaptive.margin
    return record


def describe_search(
    plan: SearchPlan,
    space: Mapping[str, str],
    surroundings: Surroundings | None = None,
    space_digest: str | None = None,
) -> StudyRecord:
    """Return the record of a search. Its variants and cells are added while it runs.

    Args:
        plan: the budget, the seeds and the groups.
        space: path -> distribution in words.
        surroundings: data, settings and code; None leaves them out.
        space_digest: a text that differs for spaces that differ, of a space that is a function.
    """
    study = plan.search
    return StudyRecord(
        **_common_fields(plan, study.question, surroundings),
        metrics=list(study.metrics),
        modes=cast(list[Mode], study.modes),
        metric=study.judge_metric,
        mode="max",
        reference=plan.reference(plan.groups[0]).name,
        budget=plan.trials,
        sampler=study.sampler,
        sampler_options=dict(study.sampler_options),
        scheduler=study.scheduler,
        scheduler_options=dict(study.scheduler_options),
        space=dict(space),
        space_digest=space_digest,
        group=study.group.name if study.group else None,
        judge_seeds=study.judging_seeds(list(plan.seeds)),
        published=None,
        factors=[],
        variants=[],
        cells=[],
        best=[],
    )


def describe_explanation(
    plan: ExplanationPlan,
    surroundings: Surroundings | None = None,
    paths: Mapping[str, Sequence[str]] | None = None,
    choosing: Sequence[Cell] = (),
    judging: Sequence[Cell] = (),
) -> StudyRecord:
    """Return the record of an explanation.

    Args:
        plan: the changes and the seeds.
        surroundings: data, settings and code; None leaves them out.
        paths: label of the group -> changes in the order in which they are taken, as far as it is chosen.
        choosing: cells in which candidates meet.
        judging: cells that judge.
    """
    chosen = paths or {}
    ends = [group.variant(made) for group in plan.groups for made in ((), group.names)]
    variants = {variant.name: variant for variant in [*ends, *(cell.variant for cell in [*choosing, *judging])]}
    looks: dict[str, Any] = {}
    if plan.adaptive is not None:
        planned = {*plan.first_seeds, *plan.whole_seeds, *(cell.seed for cell in judging)}
        looks = {"looks": list(plan.adaptive.looks), "seeds": [seed for seed in plan.seeds if seed in planned]}
    stages = [*((cell, "choose") for cell in choosing), *((cell, "judge") for cell in judging)]
    return StudyRecord(
        **_common_fields(plan, plan.question, surroundings) | looks,
        metrics=list(plan.metrics),
        modes=cast(list[Mode], list(plan.modes)),
        metric=plan.metric,
        mode=cast(Mode, plan.mode),
        margin=plan.margin,
        reference=ends[0].name,
        explanation=ExplanationRecord(
            search=plan.search,
            choosing_seeds=list(plan.choosing_seeds),
            whole_seeds=list(plan.whole_seeds),
            groups=[
                ExplainedGroupRecord(
                    label=group.label,
                    changes=[
                        ChangeRecord(name=change.name, before=dict(change.before), after=dict(change.after))
                        for change in group.changes
                    ],
                    path=list(chosen.get(group.label, ())),
                )
                for group in plan.groups
            ],
        ),
        variants=[
            VariantRecord(
                name=variant.name,
                settings=dict(variant.settings),
                declared=dict(variant.declared),
                config=variant.config.model_dump(mode="json"),
            )
            for variant in variants.values()
        ],
        cells=[
            CellRecord(cell=cell.hash, variant=cell.variant.name, seed=cell.seed, stage=stage) for cell, stage in stages
        ],
    )


def describe_surroundings(
    manifest: Manifest,
    directory: LocationLike | None,
    settings: Mapping[str, Any],
    reason: str,
    command: str,
    config: RunConfig,
) -> Surroundings:
    """Return data, settings and code, which every kind of study records.

    Args:
        manifest: manifest of the shards.
        directory: directory of the shards; None where the task loads its own data.
        settings: the user's overrides.
        reason: why this profile was taken.
        command: the command that continues the run.
        config: the reference's config.
    """
    return Surroundings(
        profile_reason=reason,
        chance=config.chance(manifest.counts),
        settings=dict(settings),
        command=command,
        data=DataRecord(
            name=manifest.name,
            layout=manifest.layout,
            path=None if directory is None else str(directory),
            content_hash=manifest.content_hash,
            images=manifest.images or None,
            classes=len(manifest.classes) or None,
            counts={split: sum(counts) for split, counts in manifest.counts.items()},
            account=manifest.account.describe() if manifest.account else None,
        ),
        code_version=TASKS[config.task].version,
        versions=environment.versions(),
    )


def join_surroundings(parts: Mapping[str, Surroundings], identity: str) -> Surroundings:
    """Return the data, settings and code of a study on several data sets.

    Args:
        parts: name of the data set -> what `describe_surroundings` returns for it.
        identity: what stands for the content hash of all of them.
    """
    first = next(iter(parts.values()))
    images = [part.data.images for part in parts.values() if part.data.images]
    return first.model_copy(
        update={
            "chance": None,
            "data": DataRecord(name=", ".join(parts), content_hash=identity, images=sum(images) or None),
            "data_sets": {name: DataSetRecord(data=part.data, chance=part.chance) for name, part in parts.items()},
        }
    )


def _common_fields(
    plan: AblationPlan | SearchPlan | ExplanationPlan, question: str, surroundings: Surroundings | None
) -> dict[str, Any]:
    """Return the fields that the records of every kind of study have."""
    fields = {
        "kind": plan.kind,
        "study": plan.study,
        "question": question,
        "profile": plan.profile,
        "task": plan.task,
        "device": plan.device.kind,
        "precision": plan.device.precision,
        "code": user_tasks.file_digests(plan.task),
        "seeds": list(plan.seeds),
    }
    return fields | (surroundings.to_dict() if surroundings is not None else {})


def _levels(variant: Variant) -> LevelsRecord:
    return LevelsRecord(settings=dict(variant.settings), declared=dict(variant.declared))


def _cell(cell: Cell) -> CellRecord:
    return CellRecord(cell=cell.hash, variant=cell.variant.name, seed=cell.seed)
