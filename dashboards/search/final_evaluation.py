"""The best configs of a search against the reference, on seeds that chose nothing; one family of comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dashboards.ablation.view import verdict_of
from dashboards.run_data.result_rows import is_number, typed
from raysearch.runs.study_record import StudyRecord
from raysearch.studies.analysis import statistics

REFERENCE, BEST = "reference", "best"


@dataclass(frozen=True)
class Judged:
    """What the judging cells of a group say."""

    group: str  # "hash.bits=24"; empty where the whole search is one
    metric: str
    reference: Mapping[str, Any]  # rows of statistics.compare
    best: Mapping[str, Any]
    values: Mapping[str, Mapping[int, float]]  # REFERENCE and BEST -> metric by seed
    verdict: str  # as of a variant: "better", "worse", "undecided", "no interval", "no result"

    @property
    def seeds(self) -> int:
        """Seeds that both finished."""
        return len(self.values[REFERENCE].keys() & self.values[BEST].keys())


def judge(study: StudyRecord, rows: Sequence[Mapping[str, Any]], groups: Sequence[str]) -> tuple[Judged, ...]:
    """Compare the best config of each group with the group's reference.

    Args:
        study: what `study.json` holds.
        rows: of the judging cells.
        groups: names of the groups, "" where the whole search is one.

    Returns:
        A group each that has a judging cell; p-values corrected by Holm over the groups.

    Raises:
        UserError: cells that must not be compared, as `statistics.compare` says.
    """
    metric = judging_metric(study)
    mode = study.get("judge_mode") or "max"
    compared = []
    for group in groups:
        names = {f"{kind} ({group})" if group else kind: kind for kind in (REFERENCE, BEST)}
        own = [{**row, "variant": names[row["variant"]]} for row in rows if row["variant"] in names]
        if own:
            compared.append((group, own, _compare(own, metric)))
    corrected = statistics.holm([both[BEST]["p"] for _, _, both in compared])
    judged = []
    for (group, own, both), p_holm in zip(compared, corrected, strict=True):
        decided = p_holm is not None and p_holm <= 1 - statistics.LEVEL
        best = {**both[BEST], "p_holm": p_holm, "decided": decided}
        values = {kind: _values(own, kind, metric) for kind in (REFERENCE, BEST)}
        judged.append(Judged(group, metric, both[REFERENCE], best, values, verdict_of(best, mode)))
    return tuple(judged)


def judging_metric(study: StudyRecord) -> str:
    """The column that judges: what chose cannot judge too.

    >>> judging_metric(StudyRecord(study="s", metrics=["map_validation"], metric="map", variants=[], cells=[]))
    'map'
    """
    metric = study.get("judge_metric") or study.get("metric")
    return metric if isinstance(metric, str) and metric not in (study.get("metrics") or []) else "map"


def _compare(rows: Sequence[Mapping[str, Any]], metric: str) -> dict[str, dict[str, Any]]:
    """The comparison; a kind that has no ended cell yet has an empty row."""
    kinds = {"variant": pa.string(), "seed": pa.int64(), "status": pa.string(), "config": pa.string()}
    kinds |= {"metric_ids": pa.string(), metric: pa.float64()}
    planned: list[Mapping[str, Any]] = [{"variant": kind, "status": "planned"} for kind in (REFERENCE, BEST)]
    table = typed([*planned, *rows], kinds)
    return {row["variant"]: row for row in statistics.compare(table, metric, REFERENCE).to_pylist()}


def _values(rows: Sequence[Mapping[str, Any]], kind: str, metric: str) -> dict[int, float]:
    own = [row for row in rows if row["variant"] == kind and row["status"] == "finished"]
    return {row["seed"]: row[metric] for row in own if is_number(row.get(metric))}
