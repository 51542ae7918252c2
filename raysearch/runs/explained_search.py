"""The question of an explanation, from the record of a finished search: what changed from each reference to its best.

The record may come from elsewhere. Its configs are validated, and code that they name has to be known already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from raysearch.core import UserError
from raysearch.runs.study_record import BestRecord, StudyRecord, VariantRecord
from raysearch.studies.analysis import power, statistics
from raysearch.studies.configs import TASKS, RunConfig
from raysearch.studies.design import Adaptive, ExplainedGroup
from raysearch.studies.design.changes import find_changes
from raysearch.studies.design.explanation_plan import CHOOSING_SEEDS
from raysearch.studies.design.plan import REFERENCE
from raysearch.studies.design.search_methods import SCHEDULERS
from raysearch.studies.design.search_plan import BEST

_JUDGING_SEEDS = 5  # of a search that judged nothing


@dataclass(frozen=True)
class SeedBlocks:
    """Seeds that choose the order of the changes, and seeds that judge it.

    Attributes:
        choosing: of the candidates of each step.
        judging: of the path.
        whole: those of them on which both ends always meet, with looks.
    """

    choosing: tuple[int, ...]
    judging: tuple[int, ...]
    whole: tuple[int, ...] = ()


def split_seeds(record: StudyRecord, count: int | Adaptive | None = None) -> SeedBlocks:
    """Return the seeds of an explanation. All are above the tuning seeds of the search.

    The judging seeds of the search come first, so its cells count. Those that choose follow, then further judging
    seeds: a larger number later changes no path.

    Args:
        record: of the search.
        count: number of judging seeds; looks, whose whole difference has the seeds that the search judged by; None: as
            many as the search had.

    Raises:
        UserError: fewer than one seed.

    >>> split_seeds(StudyRecord(study="s", seeds=[0], judge_seeds=[1, 2, 3], variants=[], cells=[]), 5)
    SeedBlocks(choosing=(4, 5, 6), judging=(1, 2, 3, 7, 8), whole=())
    """
    shared = list(record.judge_seeds)
    if isinstance(count, Adaptive):
        blocks = split_seeds(record, count.most_seeds)
        return replace(blocks, whole=blocks.judging[: max(len(shared), count.looks[0])])
    number = count if count is not None else len(shared) or _JUDGING_SEEDS
    if number < 1:
        raise UserError(f"an explanation needs at least one seed; got {number}")
    first = max([*record.seeds, *shared], default=-1) + 1
    choosing = range(first, first + CHOOSING_SEEDS)
    further = range(choosing.stop, choosing.stop + max(0, number - len(shared)))
    return SeedBlocks(tuple(choosing), tuple([*shared, *further][:number]))


def check_kind(record: StudyRecord, place: object) -> None:
    """Raise a UserError unless a record is that of a search.

    Args:
        record: of the run that is to be explained.
        place: path or URI of the run, for messages.
    """
    if record.kind != "search":
        raise UserError(f"'{place}' is not a run of a search; --explain takes the run directory of one")


def explained_groups(record: StudyRecord, place: object) -> tuple[ExplainedGroup, ...]:
    """Return the changes of each group of a search whose best config differs from the reference.

    Args:
        record: of the search.
        place: path or URI of its run, for messages.

    Raises:
        UserError: a search without a best config or a judged reference, a population, a config that this version
            cannot read, or a best config that is the reference.
    """
    scheduler = record.scheduler or ""
    if scheduler in SCHEDULERS and SCHEDULERS[scheduler].moves_settings:
        raise UserError(f"'{place}' trained a population, whose settings moved during training: no path leads there")
    variants = {variant.name: variant for variant in record.variants}
    groups = []
    for best in record.best:
        label = str(best.group) if best.group is not None else ""
        reference = variants.get(f"{REFERENCE} ({label})" if label else REFERENCE)
        winner = variants.get(best.variant or "")
        if reference is None or winner is None:
            place_of_group = f" of {label}" if label else ""
            raise UserError(
                f"the search in '{place}' has not judged its best config{place_of_group} yet; finish it first, with "
                "judge_seeds of at least 1"
            )
        before = _read_config(reference, place)
        changes = find_changes(before, _read_config(winner, place), _searched(record), _tried(record, best))
        if changes:
            groups.append(ExplainedGroup(label, before, changes))
    if not record.best:
        raise UserError(f"the search in '{place}' has no best config yet; finish it first")
    if not groups:
        raise UserError(f"the best config in '{place}' is the reference itself: there is nothing to explain")
    return tuple(groups)


def measure_groups(
    groups: Sequence[ExplainedGroup], record: StudyRecord, table: pa.Table
) -> tuple[ExplainedGroup, ...]:
    """Return the groups with the gain and the spread that the search has measured.

    Args:
        groups: of `explained_groups`.
        record: of the search.
        table: its results.
    """
    if "stage" not in table.column_names:
        return tuple(groups)
    judging = table.filter(pc.equal(table["stage"], "judge"))
    metric = record.judge_metric or record.metric or "map"
    measured = []
    for group in groups:
        ends = [f"{name} ({group.label})" if group.label else name for name in (REFERENCE, BEST)]
        cells = judging.filter(pc.is_in(judging["variant"], pa.array(ends)))
        measured.append(replace(group, measured=_measure(cells, metric, ends)))
    return tuple(measured)


def _measure(cells: pa.Table, metric: str, ends: Sequence[str]) -> tuple[float, float] | None:
    """Return the mean difference of two variants and its standard deviation; None without two common seeds."""
    if metric not in cells.column_names or set(cells["variant"].to_pylist()) != set(ends):
        return None
    references = dict.fromkeys(ends, ends[0])
    spread = power.paired_spread(cells, metric, references)
    gains = [row["delta"] for row in statistics.compare(cells, metric, references, 1).to_pylist()]
    gain = next((gain for gain in gains if gain is not None), None)
    return None if spread is None or gain is None else (gain, spread)


def _read_config(variant: VariantRecord, place: object) -> RunConfig:
    """Return the config of a variant, whose task has to be known."""
    task = str(variant.config.get("task"))
    if task not in TASKS:
        raise UserError(f"'{place}' trains the task '{task}', which is not known here; name its study file as well")
    try:
        config: RunConfig = TASKS[task].config.from_plain(variant.config)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"]))
        raise UserError(
            f"variant '{variant.name}' in '{place}' does not fit this version or this study file: {path}: "
            f"{first['msg'].removeprefix('Value error, ')}"
        ) from None
    return config


def _searched(record: StudyRecord) -> list[str]:
    """Return the paths of the space; those of a function by what was tried."""
    return list(record.space or record.factors)


def _tried(record: StudyRecord, best: BestRecord) -> Sequence[dict[str, Any]]:
    """Return the settings of every config that was tried in a group, as the cells ran."""
    prefix = f"{best.group} " if len(record.best) > 1 else ""
    names = {cell.variant for cell in record.cells if cell.stage == "search"}
    chosen = {name for name in names if name.startswith(prefix) and not name.startswith((REFERENCE, BEST))}
    return [dict(variant.settings) for variant in record.variants if variant.name in chosen]
