"""What a killed writer leaves is taken over or removed by the next one, and a living writer's is not."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysearch.core import UserError, locks
from raysearch.data.shards import workdir

WORK, OTHER = "0123456789abcdef", "fedcba9876543210"
WRITER = """
import sys, time, pathlib
from raysearch.data.shards import workdir
with workdir.resumable_workdir(pathlib.Path(sys.argv[1]), sys.argv[2], "*.done") as path:
    (path / "half").write_text("x")
    print(path, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", WRITER, str(tmp_path / "out"), WORK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_the_same_work_is_taken_over(writer: subprocess.Popen[str], tmp_path: Path) -> None:
    (left,) = tmp_path.iterdir()
    with workdir.resumable_workdir(tmp_path / "out", WORK, "*") as path:
        assert path != left  # whose writer lives
        assert not (path / "half").exists()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with workdir.resumable_workdir(tmp_path / "out", WORK, "*") as path:
        assert (path / "half").exists()
        assert list(tmp_path.iterdir()) == [path]
        assert path != left  # what the killed writer started may still write there
        with workdir.resumable_workdir(tmp_path / "out", WORK, "*") as second:
            assert not (second / "half").exists()
    assert list(tmp_path.iterdir()) == []


def test_other_work_is_removed(writer: subprocess.Popen[str], tmp_path: Path) -> None:
    (left,) = tmp_path.iterdir()
    with workdir.resumable_workdir(tmp_path / "out", OTHER, "*"):
        assert (left / "half").exists()  # its writer lives
    writer.kill()
    writer.wait()
    with (
        workdir.resumable_workdir(tmp_path / "other", WORK, "*"),
        workdir.resumable_workdir(tmp_path / "ou", WORK, "*"),
    ):
        assert left.exists()  # not theirs
    with workdir.resumable_workdir(tmp_path / "out", OTHER, "*") as path:
        assert list(tmp_path.iterdir()) == [path]
        assert not (path / "half").exists()


def test_other_names_stay(tmp_path: Path) -> None:
    names = [f".out.{WORK[:12]}.notes", f".out.{WORK[:12]}.partial", f".out.x.{WORK[:12]}.{WORK[:12]}.partial"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / workdir.LOCK_NAME).touch()
    with workdir.resumable_workdir(tmp_path / "out", WORK, "*"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_renamed_away_or_gone(tmp_path: Path) -> None:
    with workdir.resumable_workdir(tmp_path / "deep" / "out", WORK, "*") as path:
        path.rename(tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out").is_dir()
    with pytest.raises(RuntimeError), workdir.resumable_workdir(tmp_path / "new" / "er" / "out", WORK, "*.done"):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


@pytest.mark.parametrize(("error", "stays"), [(KeyboardInterrupt, True), (OSError, True), (UserError, False)])
def test_what_breaks_off_stays_if_it_is_worth_it(error: type[BaseException], stays: bool, tmp_path: Path) -> None:
    def work() -> None:
        with workdir.resumable_workdir(tmp_path / "out", WORK, "*.done") as path:
            (path / "one.done").touch()
            raise error("x")

    with pytest.raises(error):
        work()
    assert len(list(tmp_path.iterdir())) == stays
    with workdir.resumable_workdir(tmp_path / "out", WORK, "*.done") as path:
        assert (path / "one.done").exists() == stays


class Killed(BaseException):
    """Ends a process in the middle of a system call's wrapper; no `except OSError` sees it."""


@pytest.mark.parametrize("step", range(9))
def test_killed_while_it_is_removed(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever step of the removal is the last one, the next run leaves nothing behind."""
    steps = 0

    def count(name: str) -> None:
        system_call = getattr(os, name)

        def counted(*arguments: object, **options: object) -> None:
            nonlocal steps
            if steps == step:
                raise Killed
            steps += 1
            system_call(*arguments, **options)

        monkeypatch.setattr(os, name, counted)

    def work() -> None:
        with workdir.resumable_workdir(tmp_path / "out", WORK, "*") as path:
            for folder in ("notes", "half"):
                (path / folder).mkdir()
                (path / folder / "1").touch()
                (path / folder / "2").touch()

    count("unlink")
    count("rmdir")
    with contextlib.suppress(Killed):
        work()
    monkeypatch.undo()
    with workdir.resumable_workdir(tmp_path / "out", WORK, "*") as path:
        assert list(tmp_path.iterdir()) == [path]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("work", [WORK, OTHER])
@pytest.mark.parametrize("files", [(), ("1.done",)])
def test_a_directory_without_its_lock_is_removed(files: tuple[str, ...], work: str, tmp_path: Path) -> None:
    """It was left between the making of the directory and that of the lock, or by a removal."""
    left = tmp_path / f".out.{work[:12]}.{WORK[:12]}.partial"
    left.mkdir()
    for name in files:
        (left / name).touch()
    with workdir.resumable_workdir(tmp_path / "out", WORK, "*") as path:
        assert list(tmp_path.iterdir()) == [path]
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nothing_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    with pytest.raises(KeyboardInterrupt), workdir.resumable_workdir(tmp_path / "out", WORK, "*") as left:
        raise KeyboardInterrupt
    with workdir.resumable_workdir(tmp_path / "out", WORK, "*") as path:
        assert {left, path} == set(tmp_path.iterdir())


def test_a_file_that_was_left_is_removed(tmp_path: Path) -> None:
    with workdir.open_temporary_file(tmp_path, "images") as one:
        with workdir.open_temporary_file(tmp_path, "images") as two:
            assert {Path(one.name), Path(two.name)} == set(tmp_path.iterdir())
        with workdir.open_temporary_file(tmp_path, "others") as others:
            assert len(list(tmp_path.iterdir())) == 3
        with workdir.open_temporary_file(tmp_path, "images") as three:  # `two` has let go
            assert {Path(file.name) for file in (one, others, three)} == set(tmp_path.iterdir())
