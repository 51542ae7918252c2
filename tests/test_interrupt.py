"""Ctrl-C in a real terminal: the key is typed, and all that runs in the foreground hears of it, Ray's processes too.

The signals of clusters, SIGTERM and SIGUSR1, are sent to the command alone, and to its whole group as `timeout` does.
"""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from raysearch.core import Interrupt
from raysearch.runs import checkpoints, results

STUDY = """
from raysearch.studies.space import Ablation, factor
study = Ablation(
    question="Does erasing help?",
    task="retrieval",
    base={"hash.bits": 12, "train.iterations": 12, "train.epochs": 6, "train.batch": 8, "data.side": 32},
    reference={"srem.regions": 5},
    factors=[factor("srem.regions", 0)],
    seeds=2,
)
"""
CELLS = 4
CTRL_C = b"\x03"
_MARK = "RAYSEARCH_TEST_TERMINAL"  # in the environment of all that a terminal's command starts


class Terminal:
    """A command in a terminal of its own, and the text on its screen.

    Args:
        command: and its arguments.
    """

    def __init__(self, command: list[str]) -> None:
        keyboard, screen = pty.openpty()
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
        self._mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            command,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            env={**os.environ, _MARK: self._mark, "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(screen)
        self._keyboard = keyboard
        self._shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def press(self, key: bytes) -> None:
        os.write(self._keyboard, key)

    def text(self) -> str:
        """All that was shown, without the codes that move the cursor and colour."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._shown.decode(errors="replace")).replace("\r", "")

    def until(self, seen: Callable[[], Any], what: str, seconds: float = 400) -> Any:
        """Wait for something to happen while the command runs."""
        deadline = time.monotonic() + seconds
        while not (output := seen()):
            assert self.process.poll() is None, f"ended before {what}:\n{self.text()}"
            assert time.monotonic() < deadline, f"no sign of {what} in {seconds} s:\n{self.text()}"
            time.sleep(0.02)
        return output

    def end(self, seconds: float = 500) -> int:
        """Wait for the command's end; returns its exit code."""
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=10)
        return code

    def remaining_processes(self, seconds: float = 15) -> list[str]:
        """What the command started and is still there after a while."""
        deadline = time.monotonic() + seconds
        while (remaining := self._started()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return remaining

    def _started(self) -> list[str]:
        commands = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    commands.append(" ".join(process.cmdline())[:200])
            except psutil.Error:
                continue
        return commands

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._keyboard, 1 << 16)
            except OSError:  # the last process of the terminal is gone
                return
            if not data:
                return
            self._shown += data


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A directory with a study file, a small data set, and a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("interrupt")
    (folder / "study.py").write_text(STUDY)
    (folder / "data").symlink_to(tiny_data)
    terminal = Terminal(command(folder, "whole/run"))
    assert terminal.end() == 0, terminal.text()
    return folder


def command(here: Path, out: str) -> list[str]:
    words = [sys.executable, "-m", "raysearch.sweep", str(here / "study.py"), "--data", str(here / "data")]
    return [*words, "--profile", "laptop", "--concurrency", "2", "--out", str(here / out)]


def outcome(run: Path) -> list[tuple]:
    table = results.load(run)
    return sorted(zip(*(table[name].to_pylist() for name in ("variant", "seed", "status", "map")), strict=True))


def halfway(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the history at the checkpoint, for each cell that has a checkpoint and no result."""
    histories = {}
    for file in run.glob(f"checkpoints/*/{checkpoints.NEWEST}"):
        cell = file.parent.name
        if not (run / "cells" / f"{cell}.parquet").exists():
            histories[cell] = json.loads(checkpoints.decode_state(file.read_bytes(), "cpu")["history"])
    return histories


def begun(here: Path, out: str, *wrapper: str) -> Terminal:
    """A sweep at a moment when one cell has ended and another is halfway."""
    terminal = Terminal([*wrapper, *command(here, out)])
    run = here / out
    terminal.until(lambda: list(run.glob("cells/*.parquet")) and halfway(run), "a cell that ended and one halfway")
    return terminal


def interrupted(here: Path, out: str) -> Terminal:
    """Such a sweep, after the key was pressed once."""
    terminal = begun(here, out)
    terminal.press(CTRL_C)
    return terminal


def sweep_process(terminal: Terminal) -> psutil.Process:
    """The command itself, inside of what wraps it."""
    family = [psutil.Process(terminal.process.pid), *psutil.Process(terminal.process.pid).children(recursive=True)]
    (process,) = (member for member in family if member.cmdline()[:3] == [sys.executable, "-m", "raysearch.sweep"])
    return process


def check_good_order(terminal: Terminal, here: Path, out: str) -> None:
    """A stopped sweep leaves results, a report, checkpoints, and the command that continues it."""
    run = here / out
    lines = terminal.text().strip().splitlines()
    assert lines[-1] == f"stopped; to continue: python {' '.join(command(here, out)[1:])}"
    assert any(line.startswith("report: ") for line in lines)
    assert "Traceback" not in terminal.text()
    assert "*** " not in terminal.text(), "Ray's stack dump"
    assert (run / "report.html").stat().st_size > 100_000
    table = results.load(run)
    assert (run / "results.parquet").exists()
    assert 0 < table.num_rows < CELLS, "a cell that did not end is not in the results"
    assert set(table["status"].to_pylist()) == {"finished"}
    assert halfway(run)


def goes_on(here: Path, out: str) -> None:
    """The same command again ends with the numbers of the undisturbed run, from where the cells were."""
    before = halfway(here / out)
    ended = len(list((here / out).glob("cells/*.parquet")))
    again = Terminal(command(here, out))
    assert again.end() == 0, again.text()
    assert f"{CELLS - ended} to run" in again.text()
    assert outcome(here / out) == outcome(here / "whole/run")
    records = results.read_cells(here / out / "cells", list(before))
    for cell, reports in before.items():
        # Steps say how long they took, which no second run would repeat.
        assert json.loads(records[cell]["history"])[: len(reports)] == reports, "steps were done again"
        assert records[cell]["attempts"] == 2
    assert not again.remaining_processes()


@pytest.mark.slow
def test_once_ends_in_good_order(here: Path) -> None:
    terminal = interrupted(here, "once/run")
    assert terminal.end(120) == 130, terminal.text()
    assert not terminal.remaining_processes()
    assert terminal.text().count("press Ctrl-C again to stop at once") == 1
    check_good_order(terminal, here, "once/run")
    goes_on(here, "once/run")


@pytest.mark.slow
def test_twice_ends_at_once(here: Path) -> None:
    terminal = interrupted(here, "twice/run")
    terminal.until(lambda: "press Ctrl-C again" in terminal.text(), "an answer to the key")
    started = time.monotonic()
    terminal.press(CTRL_C)
    assert terminal.end(120) == 130, terminal.text()
    took = time.monotonic() - started
    assert "Traceback" not in terminal.text()
    assert "Exception" not in terminal.text()
    assert not terminal.remaining_processes()
    assert "report: " not in terminal.text(), "nothing is drawn when all should end at once"
    assert took < 30, f"{took:.1f} s is not at once"  # about 4 s, but for a machine that is busy with other things
    goes_on(here, "twice/run")


AS_PID_1 = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "wrapper", "send"),
    [
        (signal.SIGTERM, 143, (), os.kill),
        (signal.SIGTERM, 143, (), os.killpg),
        (signal.SIGUSR1, 130, (), os.kill),
        pytest.param(
            signal.SIGTERM, 143, AS_PID_1, os.kill, marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
        ),
    ],
    ids=["SIGTERM", "SIGTERM to the group", "SIGUSR1", "SIGTERM to PID 1"],
)
def test_a_signal_of_a_cluster_ends_in_good_order(
    number: signal.Signals, code: int, wrapper: tuple[str, ...], send: Callable[[int, int], None], here: Path
) -> None:
    out = f"{number.name}-{send.__name__}{len(wrapper)}/run"
    terminal = begun(here, out, *wrapper)
    process = sweep_process(terminal)
    started = time.monotonic()
    send(process.pid, number)  # the command leads its group
    assert terminal.end(120) == code, terminal.text()
    took = time.monotonic() - started
    assert not terminal.remaining_processes()
    assert f"{number.name}: stopping: " in terminal.text()
    check_good_order(terminal, here, out)
    assert took < 30, f"{took:.1f} s; clusters kill after 30"
    goes_on(here, out)


@pytest.mark.slow
def test_sigterm_twice_ends_at_once(here: Path) -> None:
    terminal = begun(here, "term/run")
    process = sweep_process(terminal)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # as `timeout` and srun do, which forward it
    time.sleep(1.5)
    assert terminal.process.poll() is None
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert terminal.end(120) == 143, terminal.text()
    took = time.monotonic() - started
    assert "Traceback" not in terminal.text()
    assert not terminal.remaining_processes()
    assert "report: " not in terminal.text()
    assert took < 15, f"{took:.1f} s is not at once"
    goes_on(here, "term/run")


@pytest.mark.slow
def test_pinned_to_one_core_a_sweep_runs_one_trial_at_a_time(here: Path) -> None:
    terminal = Terminal(["taskset", "-c", str(min(os.sched_getaffinity(0))), *command(here, "pinned/run")])
    assert terminal.end() == 0, terminal.text()
    assert "1 trials at a time" in terminal.text()
    assert outcome(here / "pinned/run") == outcome(here / "whole/run")


def test_only_the_first_signal_is_a_wish() -> None:
    messages: list[str] = []
    interrupt = Interrupt(messages.append)
    with interrupt.caught():
        assert not interrupt()
        os.kill(os.getpid(), 2)
        assert interrupt()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), 2)
    assert len(messages) == 1


_IN_THE_BACKGROUND = """
import os, signal
from raysearch.core import Interrupt
interrupt = Interrupt(print)
with interrupt.caught():
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGINT)
interrupt.stop("--max-hours")
"""


def test_a_background_job_is_not_ended_by_the_key_of_its_script() -> None:
    script = 'trap "" INT; "$@" & wait $!'
    background = ["sh", "-c", script, "sh", sys.executable, "-c", _IN_THE_BACKGROUND]
    done = subprocess.run(background, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "--max-hours; stopping: running cells keep their checkpoints\n", "a limit still counts"


def test_a_signal_that_is_forwarded_counts_once() -> None:
    messages: list[str] = []
    interrupt = Interrupt(messages.append)
    with interrupt.caught():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt()
        time.sleep(1.1)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert messages == ["SIGTERM: stopping: running cells keep their checkpoints; a second SIGTERM stops at once"]
    assert interrupt.exit_code == 143


_COMMAND = """
import os, signal, typer
from raysearch.core import Interrupt, cli
app = typer.Typer()
@app.command()
def main(number: int, caught: bool = False):
    interrupt = Interrupt()
    if caught:
        with interrupt.caught():
            os.kill(os.getpid(), number)
        raise typer.Exit(interrupt.exit_code)
    try:
        os.kill(os.getpid(), number)
    finally:
        print("cleaned up")
cli.run(app)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 130)])
def test_every_command_cleans_up_at_a_signal(number: signal.Signals, code: int) -> None:
    for words in ([], ["--caught"]):
        command = [sys.executable, "-c", _COMMAND, str(int(number)), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr.strip()) == (code, "")
        assert done.stdout.strip() == ("" if words else "cleaned up")


def test_a_background_job_hears_of_the_end_of_the_cluster() -> None:
    script = 'trap "" INT; "$@" & wait $!'
    background = ["sh", "-c", script, "sh", sys.executable, "-c", _COMMAND, str(int(signal.SIGTERM)), "--caught"]
    assert subprocess.run(background, capture_output=True, timeout=60).returncode == 143
