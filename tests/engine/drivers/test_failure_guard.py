"""A study whose first cells all fail alike stops, and no other study does."""

from typing import Any

import pytest

from raysearch.core import UserError
from raysearch.engine.drivers.failure_guard import FailedAlike, FailureGuard, common_form
from raysearch.engine.trials.jobs import Job

ALIKE = [
    (
        "FileNotFoundError: [Errno 2] No file '/a/b/1.pth'",
        "FileNotFoundError: [Errno 2] No file '/c/22.pth'",
    ),
    ("UserError: s3://bucket/a/x: the host does not answer", "UserError: s3://bucket/b/yy: the host does not answer"),
    ("RuntimeError: got shape (3, 12) at 0x7f3a", "RuntimeError: got shape (64, 1) at 0xdeadbeef"),
    ("NonFiniteLoss: the loss became nan", "NonFiniteLoss: the loss became inf"),
    ("RuntimeError: cell 1f0c9a7be21d44cc in 3.5 s", "RuntimeError: cell 99ffaa00aa112233 in 12 s"),
    ("OSError: [Errno 28] No space left on device: 'a/b.pt'", "OSError: [Errno 28] No space left on device: '../c.pt'"),
]
DIFFERENT = [
    ("UserError: no file 'a.pth'", "UserError: no layer 'a.pth'"),
    ("ValueError: bits", "TypeError: bits"),
    ("RuntimeError: a b", "RuntimeError: a c"),
]


@pytest.mark.parametrize(("first", "second"), ALIKE)
def test_errors_that_differ_in_paths_and_numbers_are_the_same(first: str, second: str) -> None:
    assert common_form(first) == common_form(second)


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_other_errors_are_not(first: str, second: str) -> None:
    assert common_form(first) != common_form(second)


MISSING = "FileNotFoundError: no file '/data/{n}.pth'"
BUG = "TypeError: unsupported operand at 0x{n}f"
NAN = "NonFiniteLoss: the loss became nan in epoch {n}"


def run(ends: list[tuple[str, str | None]], planned: int = 100, slots: int = 1, **more: Any) -> int | None:
    """Run cells, given as variant and error; return after how many ends the study stopped, None if it did not."""
    guard = FailureGuard(planned, **more)
    jobs = [Job(f"cell{n}", f"{variant} seed {n}", {}, n, variant) for n, (variant, _) in enumerate(ends)]
    started = 0
    for number, (_, error) in enumerate(ends):
        while started < min(number + slots, len(jobs)):
            guard.started(jobs[started])
            started += 1
        text = error.format(n=number) if error else None
        try:
            guard.ended(jobs[number], {"status": "failed" if error else "finished", "error": text})
        except FailedAlike:
            return number + 1
    return None


def cells(error: str | None, variants: str = "abcdefgh") -> list[tuple[str, str | None]]:
    return [(variant, error) for variant in variants]


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize(("error", "count"), [(MISSING, 3), (BUG, 3), (NAN, 5)])
def test_the_first_cells_fail_alike(error: str, count: int, slots: int) -> None:
    assert run(cells(error), slots=slots) == count


@pytest.mark.parametrize(
    "ends",
    [
        cells(MISSING, "aaaaaaaa"),  # one variant
        [("reference", None), *cells(MISSING)],
        [("a", MISSING), ("b", MISSING), ("c", None), *cells(MISSING)],
        [("a", MISSING), ("b", BUG), *cells(MISSING)],
        [("a", NAN), ("b", NAN), ("c", NAN), ("d", NAN), ("e", None)],
        cells("RuntimeError: its pre-training, cell 1a2b3c, did not come to its end"),
        [],
    ],
)
def test_a_study_that_has_something_else_to_say_goes_on(ends: list[tuple[str, str | None]]) -> None:
    assert run(ends) is None


def test_a_small_study_stops_after_its_last_cell() -> None:
    assert run(cells(MISSING, "ab"), planned=2) == 2
    assert run(cells(MISSING, "a"), planned=1) is None


def test_seeds_of_a_second_variant_are_waited_for() -> None:
    assert run(cells(MISSING, "aaab")) == 4


def test_the_first_cell_must_be_among_them() -> None:
    """With several slots, quick failures say nothing about the cell that was begun first."""
    guard = FailureGuard(100)
    jobs = [Job(f"cell{n}", f"{n}", {}, 0, f"variant {n}") for n in range(6)]
    for job in jobs:
        guard.started(job)
    for job in jobs[1:]:
        guard.ended(job, {"status": "failed", "error": MISSING})
    assert guard.watching
    with pytest.raises(FailedAlike, match="the first 6 cells, of 6 variants"):
        guard.ended(jobs[0], {"status": "failed", "error": MISSING})


def test_results_do_not_stop_a_study_that_has_finished_cells() -> None:
    assert run(cells(NAN), any_finished=lambda: True) is None
    assert run(cells(MISSING), any_finished=lambda: True) == 3


def test_the_message_tells_how_to_go_on() -> None:
    for error, words in ((MISSING, "give the same command again"), (BUG, "--retry-failed")):
        guard = FailureGuard(2)
        first, second = (Job(name, name, {}, 0, name) for name in "ab")
        guard.started(first)
        guard.ended(first, {"status": "failed", "error": error})
        with pytest.raises(UserError, match=words) as stop:
            guard.ended(second, {"status": "failed", "error": error})
        assert str(stop.value).count(error) == 1, "the error is printed once"
        assert "\n" not in str(stop.value)
