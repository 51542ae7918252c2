"""How often the host waits for the GPU within a step: counted on the `meta` device, and by CUDA's own debug mode."""

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from gpu_checks.outcomes import Result, Setting

from raysearch.tasks.base import Task
from raysearch.testing import METHODS, SmallTask, Sync, build_small, count_syncs, measure_syncs

MOST_PER_EPOCH = 2
STEPS = 4  # of an epoch whose steps are watched
_MESSAGE = "called a synchronizing CUDA operation"


def chosen_methods(setting: Setting) -> Mapping[str, SmallTask]:
    """Return all methods, or one of each task if the run is quick."""
    if not setting.quick:
        return METHODS
    first = {method.task: name for name, method in reversed(METHODS.items())}
    return {name: METHODS[name] for name in first.values()}


def check_meta(setting: Setting) -> Result:
    """Count the waits of every method on `meta`.

    Returns:
        `most_syncs_per_step` and `most_syncs_per_epoch`, and those of each method.
    """
    figures = {name: measure_syncs(method) for name, method in METHODS.items()}
    problems = []
    for name, counted in figures.items():
        if counted.per_step > 0:
            problems.append(f"{name}: {counted.per_step:g} waits per step; {_first(counted.places)}")
        if counted.per_epoch > MOST_PER_EPOCH:
            problems.append(f"{name}: {counted.per_epoch:g} waits per epoch")
    return Result(
        {
            "most_syncs_per_step": max(counted.per_step for counted in figures.values()),
            "most_syncs_per_epoch": max(counted.per_epoch for counted in figures.values()),
            "syncs": {name: [counted.per_step, counted.per_epoch] for name, counted in figures.items()},
        },
        problems,
    )


def check_debug_mode(setting: Setting) -> Result:
    """Run steps of every method under `torch.cuda.set_sync_debug_mode`, first "warn", which counts, then "error".

    On a CPU the counter on `meta` stands for CUDA's.

    Returns:
        `most_debug_syncs_per_step`, and that of each method.
    """
    count = count_cuda_waits if setting.on_gpu else count_meta_waits
    waits = {name: count(method, setting.device) for name, method in chosen_methods(setting).items()}
    problems = [
        f"{name}: {sum(places.values())} waits in {STEPS - 1} steps; {_first(places)}"
        for name, places in waits.items()
        if places
    ]
    if setting.on_gpu:
        for name, method in chosen_methods(setting).items():
            problems += [f"{name}: {line}" for line in raised_by_error_mode(method, setting.device)]
    per_step = {name: sum(places.values()) / (STEPS - 1) for name, places in waits.items()}
    return Result({"most_debug_syncs_per_step": max(per_step.values()), "debug_syncs": per_step}, problems)


def count_cuda_waits(method: SmallTask, device: torch.device) -> dict[str, int]:
    """Return the waits within steps by place, as CUDA's debug mode reports them."""
    task = _warm_task(method, device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with whole_steps(task, _mode("warn"), _mode("default")):
            task.advance()
    places = [
        f"{'/'.join(Path(warning.filename).parts[-3:])}:{warning.lineno}"
        for warning in caught
        if _MESSAGE in str(warning.message)
    ]
    return dict(Counter(places).most_common())


def raised_by_error_mode(method: SmallTask, device: torch.device) -> list[str]:
    """Return the error that "error" raises within steps, with its place; nothing where it raises none."""
    task = _warm_task(method, device)
    try:
        with whole_steps(task, _mode("error"), _mode("default")):
            task.advance()
    except RuntimeError as error:
        if _MESSAGE not in str(error):
            raise
        trace = error.__traceback__
        frames = []
        while trace is not None:
            code = trace.tb_frame.f_code
            frames.append(f"{'/'.join(Path(code.co_filename).parts[-3:])}:{trace.tb_lineno} in {code.co_name}")
            trace = trace.tb_next
        return [f"waits at {next((frame for frame in reversed(frames) if 'torch' not in frame), frames[-1])}"]
    return []


def count_meta_waits(method: SmallTask, device: torch.device) -> dict[str, int]:
    """Return the waits within steps by place, on `meta` whatever the device."""
    inside: list[Sync] = []
    with count_syncs() as counter:
        task = _warm_task(method, torch.device("meta"))
        with whole_steps(task, counter.syncs.clear, lambda: inside.extend(counter.syncs)):
            task.advance()
    return dict(Counter(sync.place for sync in inside).most_common())


@contextlib.contextmanager
def whole_steps(task: Task, enter: Callable[[], object], leave: Callable[[], object]) -> Iterator[None]:
    """Call `enter` after the first step of an epoch of `STEPS` steps, and `leave` after its last step.

    Everything between is whole steps: loading, forward, backward and optimizer. The epoch's own waits are outside.
    """
    ended = 0

    def _count(*_: object) -> None:
        nonlocal ended
        ended += 1
        if ended == 1:
            enter()
        elif ended == STEPS:
            leave()

    handle = task.optimizer.register_step_post_hook(_count)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        handle.remove()
        if 0 < ended < STEPS:
            leave()
    if ended != STEPS:
        raise AssertionError(f"an epoch of {STEPS} steps had {ended}")


def _warm_task(method: SmallTask, device: torch.device) -> Task:
    """Return a task after its first epoch, which fills caches."""
    cell = method.sized(steps=STEPS)
    task = build_small(cell.task, cell.settings, device)
    task.advance()
    return task


def _mode(name: str) -> Callable[[], None]:
    return lambda: torch.cuda.set_sync_debug_mode(name)


def _first(places: Any) -> str:
    return next(iter(places), "")
