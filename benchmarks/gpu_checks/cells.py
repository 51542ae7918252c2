"""Cells in a row: tasks are freed, memory stays flat, and a GPU computes what a CPU computes."""

import contextlib
import gc
import weakref
from typing import Any

import torch
from gpu_checks.outcomes import Result, Setting
from gpu_checks.waits import chosen_methods

from raysearch.tasks.base import Task
from raysearch.testing import METHODS, EmulatedDevice, SmallTask, build_small

LARGER = {"model.backbone": "resnet18", "data.side": 64}  # a leaked network of it shows in the memory
MOST_GROWTH = 1.0  # MiB
# Largest relative difference between losses on a GPU and on a CPU. A pre-training computes in bfloat16 on a GPU.
MOST_DIFFERENCE = {"retrieval": 0.02, "fewshot": 0.02, "pretrain": 0.1}


class _Stopped(RuntimeError):
    """Stands for any error in the middle of a step."""


def check_leaks(setting: Setting) -> Result:
    """Run every method twice, and once with an error in a step, without the garbage collector.

    Returns:
        `leaked_tasks`, and on a GPU `memory_growth_mib`: allocated after the last cell, minus after the first of each
        method, which fills caches.
    """
    settings = {} if setting.quick else LARGER
    cells = {name: SmallTask(method.task, {**method.settings, **settings}) for name, method in METHODS.items()}
    leaked: list[str] = []
    memory: list[float] = []
    gc.collect()
    gc.disable()
    try:
        for fails in (False, False, True):
            for name, cell in cells.items():
                reference = _run_cell(cell, setting.device, fails)
                if reference() is not None:
                    leaked.append(f"{name}, {'after an error' if fails else 'at its end'}")
                memory.append(_allocated_mib(setting))
    finally:
        gc.enable()
        gc.collect()
    problems = [f"not freed: {', '.join(dict.fromkeys(leaked))}"] if leaked else []
    figures: dict[str, Any] = {"leaked_tasks": len(leaked), "cells": len(memory)}
    if setting.on_gpu:
        growth = memory[-1] - memory[len(cells) - 1]
        figures |= {"memory_growth_mib": growth, "memory_mib": memory}
        problems += [f"memory grew by {growth:.1f} MiB in {len(memory) - len(cells)} cells"] * (growth > MOST_GROWTH)
    return Result(figures, problems)


def _run_cell(cell: SmallTask, device: torch.device, fails: bool) -> "weakref.ref[Task]":
    """Train, save and evaluate a task, or stop it by an error; return a reference to it, which should be dead."""
    sized = cell.sized(steps=2)
    task = build_small(sized.task, sized.settings, device)
    reference = weakref.ref(task)
    if fails:
        task.optimizer.register_step_post_hook(_stop)  # type: ignore[attr-defined]
        try:
            task.advance()
        except _Stopped:
            return reference
        raise AssertionError("the error in a step did not reach the caller")
    task.advance()
    task.load_state_dict(task.state_dict())
    task.advance()
    task.evaluate()
    return reference


def _stop(*_: object) -> None:
    raise _Stopped


def _allocated_mib(setting: Setting) -> float:
    if not setting.on_gpu:
        return 0.0
    torch.cuda.synchronize(setting.device)
    return torch.cuda.memory_allocated(setting.device) / 2**20


def check_agreement(setting: Setting) -> Result:
    """Compare the losses of every method in float32 with those on a CPU. Without a GPU, a device is emulated.

    Returns:
        `loss_difference`: the largest one, relative; and that of each method.
    """
    differences = {}
    for name, method in chosen_methods(setting).items():
        exact = {} if method.task == "pretrain" else {"train.precision": "float32"}
        cell = SmallTask(method.task, {**method.settings, **exact}).sized(steps=3)
        expected = _losses(cell, torch.device("cpu"))
        with contextlib.nullcontext() if setting.on_gpu else EmulatedDevice():
            losses = _losses(cell, setting.device if setting.on_gpu else torch.device("meta"))
        differences[name] = max(abs(loss - right) / abs(right) for loss, right in zip(losses, expected, strict=True))
    problems = [
        f"{name}: the losses differ by {difference:.1%} from those on a CPU"
        for name, difference in differences.items()
        if not difference <= MOST_DIFFERENCE[METHODS[name].task]
    ]
    return Result({"loss_difference": max(differences.values()), "loss_differences": differences}, problems)


def _losses(cell: SmallTask, device: torch.device) -> list[float]:
    task = build_small(cell.task, cell.settings, device)
    return [task.advance()["loss"] for _ in range(2)]
