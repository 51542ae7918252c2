"""Open a finished run: its images, and the trained network of a cell from its checkpoint.

Nothing is trained, and Ray is not started. The task is built as before and loads the checkpoint's state. It therefore
computes what the cell's evaluation computed; on a CPU the results are equal bit for bit.
"""

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pyarrow.fs import FileType

from raysearch.core import UserError
from raysearch.data import class_splits, feed, shards
from raysearch.inspection.cell_choice import CellChoice, choose_cell
from raysearch.models import backbones
from raysearch.runs import StudyRecord, checkpoints, results, variant_config
from raysearch.storage import Location, cache_dir
from raysearch.studies.analysis import devices
from raysearch.studies.configs import TASKS, Images, RunConfig
from raysearch.tasks import base, registry


class FinishedRun:
    """A run directory with its data. `open_run` makes it; it keeps decoded images until `close`.

    Attributes:
        record: the contents of `study.json`.
        rows: the results, one dict per cell.
        manifest: the manifest of the data set.
        device: the device that networks run on.
    """

    def __init__(self, directory: Path, record: StudyRecord, data: Location, storage: str | None) -> None:
        self.directory = directory
        self.record = record
        cells = results.CellReader(directory / "cells").read(cell.cell for cell in record.cells)
        self.rows: list[dict[str, Any]] = results.table(record, cells).to_pylist()
        self.manifest: shards.Manifest = shards.read_manifest(data)
        # As the cells: a GPU gives other digits than a CPU does.
        on_gpu = any(devices.kind_of(row) != "cpu" for row in self.rows) and torch.cuda.is_available()
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self._data = data
        self._storage = storage
        self._feeds: dict[Images, base.Feed] = {}

    def choose_cell(self, variant: str, seed: int | None = None) -> CellChoice:
        """Choose the cell that represents a variant, and check that its network can be rebuilt.

        Raises:
            UserError: no cell has finished, it was computed by another version of the code, or its checkpoint is
                missing.
        """
        cell = choose_cell(self.record, self.rows, variant, seed)
        version = TASKS[str(self.record.task)].version
        if cell.code_version != version:
            raise UserError(
                f"cell {cell.cell} of variant '{variant}' was trained by version {cell.code_version} of the task's "
                f"code, and this is version {version}: the network would differ. Run the study again."
            )
        self._load_state(cell)
        return cell

    def config(self, cell: CellChoice, settings: Mapping[str, Any]) -> RunConfig:
        """Return the config that the cell started with, overridden by settings (dotted path -> value)."""
        return variant_config.config_of_variant(self.record, cell.variant, settings)

    def task(self, cell: CellChoice) -> base.Task:
        """Rebuild the cell's task in the state at the end of training.

        Raises:
            UserError: there is no final checkpoint, weights that no checkpoint contains are missing, or the data is
                not the run's.
        """
        state = self._load_state(cell)
        try:
            settings = dict(json.loads(state["settings"]))  # changed during training by population-based training
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise _unfit_checkpoint(cell, error) from None
        config = self.config(cell, settings)
        if config.checkpoint_holds_backbone:
            config = self.config(cell, {**settings, **TASKS[config.task].from_checkpoint})
        else:
            assert config.backbone is not None
            backbones.check_weights(*config.backbone)
        worker = base.Worker(self.feed(config), cache_dir() / "features", self.device)
        task = registry.build(config, cell.seed, worker)
        try:
            task.load_state_dict(state["task"])
        except (KeyError, IndexError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise _unfit_checkpoint(cell, error) from None
        return task

    def feed(self, config: RunConfig) -> base.Feed:
        """Return the images of a config, decoded once for equal settings."""
        images = config.images
        if images not in self._feeds:
            split = class_splits.partition_of(self._data, images.split) if images.split is not None else None
            spec = feed.DecodeSpec(images.side, images.zoom)
            sets, _ = feed.open_local(self._data, spec, split.of_class if split else None)
            self._feeds[images] = base.Feed(
                sets["train"],
                sets["test"],
                self.manifest.content_hash,
                sets.get("val"),
                split.identity if split else "",
            )
        return self._feeds[images]

    def close(self) -> None:
        """Stop the threads that decode images ahead."""
        for images in self._feeds.values():
            images.close()

    def _load_state(self, cell: CellChoice) -> dict[str, Any]:
        """Load the cell's final checkpoint from this run's storage, or from the sibling run that trained the cell.

        A sibling's file counts if it belongs to this user or to whoever made this run.
        """
        storage = self._storage or str(self.directory / checkpoints.FOLDER)
        own = checkpoints.Checkpoints(storage, cell.cell).read()
        owners = {os.geteuid(), 0, (self.directory / "study.json").stat().st_uid}
        siblings = checkpoints.read_siblings(self.directory.resolve().parent, cell.cell, owners)
        for data in itertools.chain([own], siblings):
            state = checkpoints.decode_state(data, self.device) if data is not None else None
            if _steps_of(state) == cell.steps:
                assert state is not None
                return state
        raise UserError(
            f"no final checkpoint of cell {cell.cell} (variant '{cell.variant}', seed {cell.seed}) in {storage}. "
            "If the run was made with --storage, pass the same --storage here."
        )


def _unfit_checkpoint(cell: CellChoice, error: Exception) -> UserError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return UserError(f"the checkpoint of cell {cell.cell} is not one of its network ({reason}); run the study again")


def _steps_of(state: Any) -> int | None:
    """Return the number of steps that a checkpoint was trained for; None if it is no checkpoint of a cell."""
    try:
        return len(json.loads(state["history"]))
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        return None


def _named_set(record: StudyRecord, data: str | None) -> str:
    """Return the name of the set, of a run's several, whose shards are given.

    Raises:
        UserError: none is given, or one that the run does not have.
    """
    places = ", ".join(f"{name} ({of_set.data.path})" for name, of_set in record.data_sets.items())
    if data is None:
        raise UserError(f"the run has several data sets; give one of them with --data: {places}")
    content_hash = shards.read_manifest(Location.parse(data)).content_hash
    for name, of_set in record.data_sets.items():
        if of_set.data.content_hash == content_hash:
            return name
    raise UserError(f"'{data}' is none of the run's data sets; give one of them with --data: {places}")


def open_run(directory: str | Path, data: str | None = None, storage: str | None = None) -> FinishedRun:
    """Open a run.

    Args:
        directory: written by `raysearch.sweep`.
        data: path or URI of the shards, if they have moved, or of the set that is meant if the run has several.
        storage: path or URI of the checkpoints, if they are not in the directory.

    Raises:
        UserError: not a run directory, a run of a user's task, no data there, or other data than the run was made from.
    """
    record = results.read_study(directory)
    if record.data_sets:
        record = record.on_data_set(_named_set(record, data))
    if record.code:
        raise UserError(f"the networks of {record.task} are the user's own; they have no gallery, and no pictures")
    torch.set_num_threads(1)  # as in a study's workers: more threads sum in another order
    location = Location.parse(data if data is not None else record.data.recorded_path())
    if data is None and location.file_type() != FileType.Directory:
        raise UserError(f"the run's data set is no longer at {location}; pass its new place with --data")
    run = FinishedRun(Path(directory), record, location, storage)
    if run.manifest.content_hash != record.data.content_hash:
        raise UserError(f"{location} holds other data than the run was made from; pass the run's data with --data")
    return run
