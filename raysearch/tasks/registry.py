"""Tasks by their names in configs: how each is built, and the backbone it starts from."""

import io
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from raysearch.core import UserError, atomic, is_own, open_below
from raysearch.storage import private_place
from raysearch.studies.configs import TASKS, RunConfig, parse_config
from raysearch.studies.design import GPU, Device, cell_hash
from raysearch.tasks.base import Task, Worker
from raysearch.tasks.common import resolve_precision


def build(config: RunConfig, seed: int, worker: Worker) -> Task:
    """Return the task of a config, ready to train.

    Args:
        config: the config of the run.
        seed: the seed of everything random.
        worker: the worker that it runs on.

    Raises:
        UserError: unknown task, or a config that does not fit the data or the worker.
    """
    task: Task = TASKS[config.task].load_build()(config, seed, worker)
    return task


def build_from_plain(config: Mapping[str, Any], seed: int, worker: Worker) -> Task:
    """Return the task of a config that came from another process as plain values; see `build`."""
    return build(parse_config(config), seed, worker)


def build_in_precision(precision: str | None, config: Mapping[str, Any], seed: int, worker: Worker) -> Task:
    """Return the task of a plain config on a device that computes "auto" in a precision.

    Args:
        precision: see `builders.builder_for_workers`.
        config: plain values.
        seed: the seed of everything random.
        worker: the worker that it runs on.

    Raises:
        UserError: the worker's GPU computes in another precision than the name of the cell says; see `build` too.
    """
    follows_device = config.get("train", {}).get("precision", "auto") == "auto"
    here = device_of(worker.device)
    if precision is not None and here.kind == GPU.kind and follows_device and here.precision != precision:
        name = torch.cuda.get_device_name(worker.device)
        raise UserError(
            f"{name} computes in {here.precision}, and the study's cells are named for {precision}: use one type of "
            "GPU, or --set train.precision=float32"
        )
    return build_from_plain(config, seed, worker)


def with_pretrained_backbone(
    config: RunConfig, seed: int, worker: Worker, directory: Path, train: Callable[[Task], None]
) -> Worker:
    """Return the worker with the backbone that the config starts from; unchanged if the config has no pre-training.

    Args:
        config: the config of the run.
        seed: the seed of the run.
        worker: the worker that the run is trained on, alone.
        directory: the directory of stored backbones; if other users can write to it, one in the user's default cache.
        train: advances a task to its end.
    """
    pre_training = config.starts_from(seed)
    if pre_training is None:
        return worker
    pre_config, pre_seed = pre_training
    device = device_of(worker.device)
    # Earlier versions named a backbone by this hash alone, whatever device it was trained on.
    name = f"{cell_hash(pre_config, worker.feed.content_hash, pre_seed, device=device)}-{device.kind}.pt"
    folder = private_place(directory)  # a foreign file would change the numbers under the same hash
    state = _read_backbone(folder, name, worker.device)
    if state is None:
        task = build(pre_config, pre_seed, worker)
        train(task)
        state = task.state_dict()["trunk"]
        buffer = io.BytesIO()  # torch.save reports a full disk as a RuntimeError
        torch.save(state, buffer)
        atomic.write_bytes(folder / name, buffer.getbuffer())
        state = torch.load(io.BytesIO(buffer.getbuffer()), weights_only=True, map_location=worker.device)
    return replace(worker, start=state)


def device_of(device: torch.device) -> Device:
    """Return a torch device as cells are named by it. GPUs older than Ampere have no bfloat16."""
    return Device(device.type, resolve_precision(device, "auto"))


def _read_backbone(folder: Path, name: str, device: torch.device) -> Any:
    """Return the state in a file, or None if there is none that is whole and this user's own."""
    try:
        with open_below(folder, name) as file:
            return torch.load(file, weights_only=True, map_location=device) if is_own(os.fstat(file.fileno())) else None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
        return None
