"""What a killed writer leaves is removed by the next one, and a living writer's is not."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.data import scratch

WRITER = """
import sys, time, pathlib
from raysearch.data import scratch
with scratch.beside(pathlib.Path(sys.argv[1])) as path:
    (path / "half").write_text("x")
    print(path, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", WRITER, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_killed_writer_is_cleaned_up_after(writer: subprocess.Popen[str], tmp_path: Path) -> None:
    (left,) = tmp_path.iterdir()
    with scratch.beside(tmp_path / "out"):
        assert (left / "half").exists()  # its writer lives
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with scratch.beside(tmp_path / "other"), scratch.beside(tmp_path / "ou"):
        assert left.exists()  # not theirs
    with scratch.beside(tmp_path / "out") as path:
        assert list(tmp_path.iterdir()) == [path]
    assert list(tmp_path.iterdir()) == []


def test_only_what_this_machine_left_is_judged(writer: subprocess.Popen[str], tmp_path: Path) -> None:
    writer.kill()
    writer.wait()
    (left,) = tmp_path.iterdir()
    mine = f".out.{platform.node()}.{writer.pid}."
    assert left.name.startswith(mine)
    others = [left.name.replace(platform.node(), "another-machine"), mine + "notes", f".out.{writer.pid}.partial"]
    for name in others:
        (tmp_path / name).mkdir()
    with scratch.beside(tmp_path / "out"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_renamed_away_or_gone(tmp_path: Path) -> None:
    with scratch.beside(tmp_path / "deep" / "out") as path:
        path.rename(tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out").is_dir()
    with pytest.raises(RuntimeError), scratch.beside(tmp_path / "new" / "er" / "out"):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
