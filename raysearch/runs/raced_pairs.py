"""The comparisons of an explanation by the names of its configs, and those of them that looks can judge."""

from collections.abc import Mapping

from raysearch.runs.study_record import ExplanationRecord, StudyRecord
from raysearch.studies.analysis import change_path
from raysearch.studies.design.explanation_plan import name_config

Pair = tuple[str, str]  # names of the config without a change, and of the one with it


def compared_pairs(explanation: ExplanationRecord) -> list[Pair]:
    """Return the comparisons of all paths, in the order of `change_path.comparisons`."""
    pairs = []
    for group in explanation.groups:
        names = [change.name for change in group.changes]
        for comparison in change_path.comparisons(group.path):
            without = name_config(names, comparison.without, group.label)
            pairs.append((without, name_config(names, comparison.made, group.label)))
    return pairs


def count_comparisons(explanation: ExplanationRecord) -> int:
    """Return the number of comparisons of complete paths: the family of Holm's correction."""
    return sum(max(0, 2 * len(group.changes) - 1) for group in explanation.groups)


def raced_pairs(record: StudyRecord) -> list[Pair]:
    """Return the comparisons that looks can judge.

    A config that cannot be has no cell. A change that does nothing by itself has the cells of the config without it.
    Neither would ever be decided, and would take all seeds.

    Args:
        record: of an explanation, with the cells that judge.
    """
    assert record.explanation is not None
    cells: dict[str, dict[int, str]] = {}
    for cell in record.cells:
        if cell.stage == "judge":
            cells.setdefault(cell.variant, {})[cell.seed] = cell.cell
    return [pair for pair in compared_pairs(record.explanation) if _differ(*(cells.get(name, {}) for name in pair))]


def _differ(without: Mapping[int, str], made: Mapping[int, str]) -> bool:
    """Return whether two configs have cells, and not the same ones."""
    return any(without[seed] != made[seed] for seed in without.keys() & made.keys())
