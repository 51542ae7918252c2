"""Count how often a study was looked at: how often its seeds were raised after results existed.

Such a study tests the same question several times, so its levels do not hold. Completing a plan is not a look, and
neither are further levels. An adaptive study declares its looks, and its levels are corrected.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from raysearch.core import UserError
from raysearch.runs.study_record import StudyRecord


def count_looks(earlier: StudyRecord, record: StudyRecord, ended: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """Return the numbers of seeds of earlier plans whose results existed when the plan grew, rising.

    A plan that was stopped counts with the seeds that a variant and its reference had in common.

    Args:
        earlier: the record before this call.
        record: the record of this call.
        ended: cell -> its row, of the cells of the earlier record.
    """
    before = Counter(cell.variant for cell in earlier.cells)
    now = Counter(cell.variant for cell in record.cells)
    seeds: dict[str, set[int]] = {name: set() for name in before}
    finished: set[tuple[str, int]] = set()
    for cell in earlier.cells:
        if cell.cell in ended:
            seeds[cell.variant].add(cell.seed)
        if cell.cell in ended and ended[cell.cell]["status"] == "finished":
            finished.add((cell.variant, cell.seed))
    looked = list(earlier.looked)
    most = looked[-1] if looked else 0
    for name in before:
        reference = earlier.references.get(name, earlier.reference)
        if name == reference or reference is None or now[name] <= before[name]:
            continue
        common = seeds[name] & seeds.get(reference, set())
        if any({(name, seed), (reference, seed)} <= finished for seed in common):
            most = max(most, len(common))
    return looked if looked and most == looked[-1] else [*looked, most] if most else looked


def check_looks(earlier: StudyRecord, record: StudyRecord, where: object) -> None:
    """Check that an adaptive run keeps what it declared before its first cell, and that a fixed run stays fixed.

    Args:
        earlier: the record of a run that has results.
        record: the record of what is asked now.
        where: the run, for the message.

    Raises:
        UserError: other looks, another margin, metric, seeds or variants; or a fixed number of seeds.
    """
    if not earlier.looks and not record.looks:
        return
    way_out = "remove that directory, or give another --out"
    if not record.looks:
        words = ["--looks", ",".join(map(str, earlier.looks))]
        words += ["--margin", f"{earlier.margin:g}"] if earlier.margin else []
        raise UserError(
            f"'{where}' is an adaptive run, judged at {_words(earlier.looks)} seeds, and {len(record.seeds)} fixed "
            f"seeds would end it at will; use {' '.join(words)}, or give another --out"
        )
    if not earlier.looks:
        raise UserError(
            f"'{where}' has results of {len(earlier.seeds)} fixed seeds, and looks are declared before the first "
            f"result; {way_out}"
        )
    common = min(len(earlier.seeds), len(record.seeds))  # an adaptive run records those that are planned so far
    before = _declared(earlier, common)
    now = _declared(record, common)
    for name in before:
        if before[name] != now[name]:
            raise UserError(
                f"'{where}' declared the {name} {_words(before[name])}, here {_words(now[name])}: an adaptive run "
                f"keeps them after its first result; {way_out}"
            )


def _declared(study: StudyRecord, seeds: int) -> dict[str, Any]:
    """Return the settings that verdicts depend on, by name. The path of an explanation is chosen while it runs."""
    return {
        "looks": study.looks,
        "margin": study.margin,
        "metric": f"{study.metric} ({study.mode})",
        "seeds": study.seeds[:seeds],
        "variants": [variant.name for variant in study.variants] if study.explanation is None else [],
    }


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
