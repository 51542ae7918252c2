"""Checks of a task: that it repeats its numbers, continues at every step, and runs on two workers.

    def test_my_task():
        check_task(MyTask, {"width": 16})

The engine relies on these. A task that passes gives the same numbers after a kill, and on another machine.
"""

import io
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from raysearch.core import UserError, user_code
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.user.class_task import ClassTask

_SECONDS = 120  # that two workers may take


@dataclass(frozen=True)
class TaskCase:
    """A task as both the test and a second process can build it."""

    build: Any  # a class or function `(config, seed, worker) -> task`
    config: Any
    seed: int
    feed: Feed | None

    @property
    def name(self) -> str:
        """Its name in messages."""
        return getattr(self.build, "__qualname__", None) or repr(self.build)

    def make(self, worker: Worker) -> ClassTask:
        """Return a new task, as the engine builds it."""
        return ClassTask(self.build, self.name, self.config, (), self.seed, worker)


def check_task(
    build: Callable[[Any, int, Worker], Any],
    config: Any,
    seed: int = 0,
    feed: Feed | None = None,
    workers: bool = True,
) -> None:
    """Check a class task, or any builder of a task, on the CPU. Choose a config of few steps.

    1. It has the methods and the `steps` of a task, and returns numbers.
    2. Two runs with one seed give the same numbers, though something else draws random numbers between them.
    3. A run that continues from the state of any step gives the numbers of an undisturbed one. The state is saved, and
       read by `torch.load(weights_only=True)`, which runs no code.
    4. Two workers come to the end with one model, and continue from rank 0's state.

    Args:
        build: the class, or a function `(config, seed, worker) -> task`; at the top of a file, so that the second
            process finds it.
        config: its settings: a dict, a dataclass or a pydantic model.
        seed: the seed of everything random.
        feed: images, if the task reads any. They stay in this process, so two workers are not checked with them.
        workers: whether to run two workers too, which takes a few seconds.

    Raises:
        AssertionError: the first check that fails, in a sentence.
    """
    case = TaskCase(build, config, seed, feed)
    name = case.name
    try:
        reports, metrics, _ = _run(case)
        _disturb()
        again, metrics_again, states = _run(case, keep_states=True)
        _compare(reports, again, f"{name}: two runs with seed {seed} differ", "draw everything from `seed`")
        _compare(metrics, metrics_again, f"{name}: two runs with seed {seed} differ", "draw everything from `seed`")
        for done, state in enumerate(states):
            _disturb()
            rest, metrics_again, _ = _run(case, state)
            where = f"{name}: a run that continues after step {done} differs from an undisturbed one"
            advice = "state_dict lacks something, such as the optimizer, a schedule or a generator"
            _compare(reports[done:], rest, where, advice)
            _compare(metrics, metrics_again, where, advice)
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
    if workers and feed is None:
        _check_workers(case)


def _run(
    case: TaskCase, state: bytes | None = None, keep_states: bool = False
) -> tuple[list[dict[str, Any]], dict[str, Any], list[bytes]]:
    """Run a task to its end; return its reports without times, its metrics, and its states before and after steps."""
    with tempfile.TemporaryDirectory() as folder:
        task = case.make(Worker(case.feed, Path(folder)))  # type: ignore[arg-type]
        if state is not None:
            task.load_state_dict(_decode(state))
        reports, states = run_to_the_end(task, keep_states)
        return reports, task.evaluate(), states


def run_to_the_end(task: ClassTask, keep_states: bool) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Advance a task to its end, and return its reports without times, and its states before and after each step."""
    reports: list[dict[str, Any]] = []
    states = [_encode(task)] if keep_states else []
    while task.done < task.steps:
        before = task.done
        report = task.advance()
        if report is None:
            break
        assert task.done == before + 1
        reports.append({name: value for name, value in report.items() if name != "seconds"})
        if keep_states:
            states.append(_encode(task))
    return reports, states


def _encode(task: ClassTask) -> bytes:
    buffer = io.BytesIO()
    torch.save(task.state_dict(), buffer)
    return buffer.getvalue()


def _decode(state: bytes) -> dict[str, Any]:
    """Return a state, read as a checkpoint is."""
    plain: dict[str, Any] = torch.load(io.BytesIO(state), weights_only=True)
    return plain


def _disturb() -> None:
    """Move the global generators, as another cell in the same process would."""
    random.seed(20)
    np.random.seed(20)
    torch.manual_seed(20)


def _compare(expected: Any, seen: Any, what: str, advice: str) -> None:
    """Check that numbers are the same, bit for bit.

    Raises:
        AssertionError: the first name that differs.
    """
    if isinstance(expected, list):
        if len(expected) != len(seen):
            raise AssertionError(f"{what}: {len(seen)} reports, not {len(expected)}; {advice}")
        for before, after in zip(expected, seen, strict=True):
            _compare(before, after, f"{what}: step {before['iteration']}", advice)
        return
    if set(expected) != set(seen):
        names = sorted(set(expected) ^ set(seen))
        raise AssertionError(f"{what}: only one of them has {', '.join(names)}; {advice}")
    for name, value in expected.items():
        both_missing = value != value and seen[name] != seen[name]
        if value != seen[name] and not both_missing:
            raise AssertionError(f"{what}: {name} is {seen[name]!r}, not {value!r}; {advice}")


def read_case(path: Path) -> TaskCase:
    """Return the case that `_write_case` wrote, in another process. Only the class itself is code."""
    plain = json.loads(path.read_text("utf-8"))
    config = plain["config"]
    if plain["typed_code"] is not None:
        typed = user_code.load(user_code.UserCode(**plain["typed_code"]))
        config = TypeAdapter(typed).validate_python(config)
    return TaskCase(user_code.load(user_code.UserCode(**plain["code"])), config, plain["seed"], None)


def _write_case(case: TaskCase, path: Path) -> None:
    """Write a case as plain values, and the source of its class.

    Raises:
        UserError: the class is not at the top of a file.
        TypeError: the config has no plain form.
    """
    code = user_code.code_of(case.build)
    typed_code = None
    config = case.config
    if not isinstance(config, Mapping):
        typed_code = user_code.code_of(type(config))
        if typed_code.root == code.root and typed_code.entry in code.files:
            typed_code = replace(typed_code, files=code.files)
        config = TypeAdapter(type(config)).dump_python(config, mode="json")
    plain = {
        "code": asdict(code),
        "typed_code": asdict(typed_code) if typed_code else None,
        "config": config,
        "seed": case.seed,
    }
    path.write_text(json.dumps(plain), encoding="utf-8")


def _check_workers(case: TaskCase) -> None:
    """Run two processes, which check that they agree.

    Raises:
        AssertionError: what they found, or that they did not come to the end.
    """
    name = case.name
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        try:
            _write_case(case, folder / "case")
        except (UserError, TypeError, ValueError) as error:
            raise AssertionError(f"{name} cannot be sent to a second worker: {error}") from None
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
        command = [sys.executable, "-m", "raysearch.testing.two_workers", str(folder)]
        processes = [
            subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE, text=True)
            for rank in range(2)
        ]
        try:
            outputs = [process.communicate(timeout=_SECONDS)[1] for process in processes]
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{name}: two workers did not end within {_SECONDS} s; does each call the same worker.sum, "
                "worker.broadcast and wrapped model?"
            ) from None
        finally:
            for process in processes:
                process.kill()
                process.wait()
        errors = sorted(folder.glob("error-*"), key=lambda path: path.stat().st_mtime_ns)
        if errors:  # the other worker's error is that this one is gone
            raise AssertionError(errors[0].read_text())
        for process, output in zip(processes, outputs, strict=True):
            if process.returncode != 0:
                raise AssertionError(f"{name}: a worker of two ended: {(output.strip().splitlines() or ['?'])[-1]}")
