"""The disk that checkpoints take: sums by hand over real files, for each way to keep them."""

from pathlib import Path

import pytest

from raysearch.runs.disk_forecast import CellStates, DiskForecast, StudyShape, forecast_disk, measure_states
from raysearch.runs.retention import Keep
from raysearch.storage import Location


def write(folder: Path, **sizes: int) -> None:
    folder.mkdir(parents=True)
    for name, size in sizes.items():
        (folder / f"{name}.pt").write_bytes(bytes(size))


def test_the_states_of_cells(tmp_path: Path) -> None:
    write(tmp_path / "a", newest=100, best=60)
    write(tmp_path / "b", newest=140)
    (tmp_path / "b" / "best.pt").hardlink_to(tmp_path / "b" / "newest.pt")  # one file under two names
    (tmp_path / "b" / "attempts.json").write_text("{}")
    states = measure_states(Location.parse(str(tmp_path)), ["a", "b", "pruned"])
    assert states == CellStates(present=300, last=120.0, all=150.0)
    assert measure_states(Location.parse(str(tmp_path)), ["pruned"]) is None


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        # 8 cells of 2 variants, of which 2 have ended with 150 bytes each; 100 bytes a state, 2 trials at a time.
        (None, DiskForecast(300 + 6 * 150, 300 + 6 * 200 + 2 * 100)),
        (Keep.LAST, DiskForecast(8 * 100, 8 * 100 + 2 * 300)),
        (Keep.BEST, DiskForecast(2 * 100, 6 * 100 + 2 * 300)),
        (Keep.NONE, DiskForecast(0, 2 * 300)),
    ],
)
def test_a_study_that_runs(keep: Keep | None, expected: DiskForecast) -> None:
    shape = StudyShape(to_run=6, total=8, chosen=2, undecided=6, trials=2)
    assert forecast_disk(shape, CellStates(present=300, last=100.0, all=150.0), keep) == expected


def test_a_study_that_has_ended_takes_what_is_there() -> None:
    shape = StudyShape(to_run=0, total=8, chosen=2, undecided=6, trials=0)
    forecast = forecast_disk(shape, CellStates(present=300, last=100.0, all=150.0), None)
    assert forecast == DiskForecast(300, 300)
    assert forecast.describe() == "about 0.0 MB of checkpoints"
