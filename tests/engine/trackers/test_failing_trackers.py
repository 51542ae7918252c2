"""A tracker that fails, in whatever way, is one line; the study and the other trackers go on."""

import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from raysearch.core import UserError
from raysearch.engine import trackers
from raysearch.engine.trackers import TRACKERS, TrackerSpec

from .sitting import SEEDS, STEPS, VARIANTS, cell_of, open_run, second_sitting

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the stubs. The processes of trackers find their module."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    for name in ("Stub", "Full", "Hanging", "Dying", "Unusable"):
        TRACKERS.put(name.lower(), TrackerSpec(f"tests.engine.trackers.stubs:{name}", "json", "x", "show {folder}"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("full", "OSError: [Errno 28] No space left on device: 'events'"),
        ("hanging", "it was not done after 20 s"),
        ("dying", "its process ended with code 139"),
        ("unusable", "RuntimeError: no server answers"),
    ],
)
def test_the_study_goes_on_without_it(name: str, reason: str, tmp_path: Path) -> None:
    output = run_study(tmp_path, [name, "stub"], patience=20.0 if name == "hanging" else 120.0)
    assert output.count(f"tracker {name} is off: {reason}; ") == 1
    assert "stub is off" not in output
    calls = (tmp_path / "trackers/stub/calls").read_text().splitlines()
    expected = [
        f"{cell_of(variant, seed)} {step} {1.0 / step + seed}"
        for variant in VARIANTS
        for seed in SEEDS
        for step in range(1, STEPS + 1)
        if (variant, seed) != ("reference", 0)
    ]
    assert set(expected) == {line for line in calls if len(line.split()) == 3 and line[-1].isdigit()}
    assert calls[-1] == "closed"
    assert f"{cell_of('reference', 1)} reference" in calls


def test_a_tracker_without_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "trackers").write_text("a file")
    output = run_study(tmp_path, ["stub"])
    assert output.count("tracker stub is off: ") == 1
    assert "trackers" in output


@pytest.mark.slow
def test_the_real_tools_on_a_full_disk(full_disk: Path) -> None:
    names = [name for name in ("tensorboard", "mlflow", "wandb", "trackio") if is_installed(name)]
    output = run_study(full_disk, names)
    for name in names:
        assert output.count(f"tracker {name} is off: ") == 1, output
    assert "Traceback" not in output


def test_names_are_checked_before_the_study() -> None:
    with pytest.raises(UserError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        trackers.check_trackers(["tensorbord"])
    TRACKERS.put("absent", TrackerSpec("x:X", "no_such_library", "extra", ""))
    with pytest.raises(UserError, match=r"^--log absent: no_such_library is not .* pip install 'raysearch\[extra\]'$"):
        trackers.check_trackers(["absent"])
    assert trackers.check_trackers(["stub", "stub"]) == ["stub"]


def test_a_link_out_of_the_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/trackers").symlink_to(tmp_path)
    with pytest.raises(UserError, match="is a link that leads out of"):
        run_study(tmp_path / "run", ["stub"])


def run_study(run_dir: Path, names: list[str], patience: float = 120.0) -> str:
    console = Console(record=True, width=500, file=io.StringIO())
    second_sitting(open_run(run_dir), names, console, patience)
    return console.export_text()


def is_installed(name: str) -> bool:
    try:
        return bool(trackers.check_trackers([name]))
    except UserError:
        return False


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A run directory whose folder of trackers is on a disk with room for a few blocks."""
    disk = tmp_path / "trackers"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs root")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
