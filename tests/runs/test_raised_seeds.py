"""The looks that a study with fixed seeds has had, by hand-counted cells."""

from collections.abc import Mapping

import pytest

from raysearch.runs.raised_seeds import count_looks
from raysearch.runs.study_record import CellRecord, StudyRecord, VariantRecord


def study(looked: tuple[int, ...] = (), **seeds: int) -> StudyRecord:
    """Return the record of a study with the first seeds of its variants; the reference is called r."""
    return StudyRecord(
        study="s",
        reference="r",
        looked=list(looked),
        variants=[VariantRecord(name=name) for name in seeds],
        cells=[
            CellRecord(cell=f"{name}{seed}", variant=name, seed=seed)
            for name, count in seeds.items()
            for seed in range(count)
        ],
    )


def results_of(status: str = "finished", **seeds: int) -> dict[str, dict[str, str]]:
    return {f"{name}{seed}": {"status": status} for name, count in seeds.items() for seed in range(count)}


@pytest.mark.parametrize(
    ("earlier", "now", "ended", "looked"),
    [
        (study(r=3, a=3), study(r=5, a=5), results_of(r=3, a=3), [3]),
        (study((3,), r=5, a=5), study(r=8, a=8), results_of(r=5, a=5), [3, 5]),
        (study((3,), r=3, a=3), study(r=8, a=8), results_of(r=3, a=3), [3]),  # the same seeds again
        (study(r=5, a=5, b=5), study(r=8, a=8, b=8), results_of(r=5, a=5, b=3), [5]),  # the variant with most
        (study(r=5, a=5), study(r=8, a=8), results_of(r=2, a=4), [2]),  # seeds in common
        (study(r=3, a=3), study(r=3, a=3), results_of(r=3, a=3), []),  # no seed more
        (study(r=3, a=3), study(r=5, a=3), results_of(r=3, a=3), []),  # of the reference alone
        (study(r=3, a=3), study(r=3, a=3, b=5), results_of(r=3, a=3), []),  # a further level
        (study(r=3, a=3), study(r=5, a=5), results_of(r=3), []),  # nothing to compare
        (study(r=3, a=3), study(r=5, a=5), results_of(r=3) | results_of("failed", a=3), []),
        (study(r=3, a=3), study(r=5, a=5), {}, []),
    ],
)
def test_looks_are_the_seeds_compared_before_a_raise(
    earlier: StudyRecord, now: StudyRecord, ended: Mapping[str, Mapping[str, str]], looked: list[int]
):
    assert count_looks(earlier, now, ended) == looked
