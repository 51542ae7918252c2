"""A finished run opened again: its images, and the trained network of a cell from its checkpoint.

Nothing is trained and Ray is not started. The task is built as it was and takes over the checkpoint's state, so what
it computes of an image is what its evaluation computed, on a CPU bit for bit.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pyarrow.fs import FileType

from raysearch.core.errors import UserError
from raysearch.data import class_splits, feed, shards
from raysearch.data.feed import DecodeSpec
from raysearch.data.shards import Manifest
from raysearch.inspection.choosing import CellChoice, choose
from raysearch.models import backbones
from raysearch.runs import results, variant_config
from raysearch.runs.checkpoints import FOLDER, Checkpoints, decode_state
from raysearch.runs.study_record import StudyRecord
from raysearch.storage import Location, cache_dir
from raysearch.studies.configs import TASKS, Images, RunConfig
from raysearch.tasks import registry
from raysearch.tasks.base import Feed, Task, Worker


class FinishedRun:
    """A run directory with its data; made by `open_run`. Decoded images are kept until `close`.

    Attributes:
        record: what `study.json` holds.
        rows: of the results, a dict a cell.
        manifest: of the data set.
        device: where networks compute.
    """

    def __init__(self, directory: Path, record: StudyRecord, data: Location, storage: str | None) -> None:
        self.directory, self.record = directory, record
        self.rows: list[dict[str, Any]] = results.load(directory).to_pylist()
        self.manifest: Manifest = shards.read_manifest(data)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._data, self._storage = data, storage
        self._feeds: dict[Images, Feed] = {}

    def chosen(self, variant: str, seed: int | None = None) -> CellChoice:
        """The cell that stands for a variant; see `choose`.

        Raises:
            UserError: none has ended, it was computed by another version of the code, or its checkpoint is gone.
        """
        one = choose(self.record, self.rows, variant, seed)
        version = TASKS[str(self.record.task)].version
        if one.code_version != version:
            raise UserError(
                f"cell {one.cell} of variant '{variant}' was trained by version {one.code_version} of the task's code, "
                f"this is {version}: its network would not be the same; run the study again"
            )
        self._state(one)
        return one

    def config(self, cell: CellChoice, settings: Mapping[str, Any]) -> RunConfig:
        """The config that the cell began with, under settings by dotted path."""
        return variant_config.config_of_variant(self.record, cell.variant, settings)

    def task(self, cell: CellChoice) -> Task:
        """The cell's task as it was when training had ended.

        Raises:
            UserError: no checkpoint of its end, weights that are not in the checkpoint and are gone, or data that is
                not the run's.
        """
        state = self._state(cell)
        moved = json.loads(state["settings"])  # what a population changed on the way
        config = self.config(cell, moved)
        if config.checkpoint_holds_backbone:
            config = self.config(cell, {**moved, **TASKS[config.task].from_checkpoint})
        else:
            backbones.check_weights(*config.backbone)
        worker = Worker(self.feed(config), cache_dir() / "features", self.device)
        task = registry.build(config, cell.seed, worker)
        task.load_state_dict(state["task"])
        return task

    def feed(self, config: RunConfig) -> Feed:
        """The images of a config."""
        wanted = config.images
        if wanted not in self._feeds:
            divided = class_splits.partition_of(self._data, wanted.split) if wanted.split is not None else None
            view = DecodeSpec(wanted.side, wanted.zoom)
            sets, _ = feed.open_local(self._data, view, divided.of_class if divided else None)
            identity = divided.identity if divided else ""
            self._feeds[wanted] = Feed(
                sets["train"], sets["test"], self.manifest.content_hash, sets.get("val"), identity
            )
        return self._feeds[wanted]

    def close(self) -> None:
        """End what decodes images ahead."""
        for one in self._feeds.values():
            one.close()

    def _state(self, cell: CellChoice) -> dict[str, Any]:
        """The cell's last checkpoint, from this run's storage or from a run beside it that the cell was taken from."""
        own = self._storage or str(self.directory / FOLDER)
        beside = sorted(self.directory.resolve().parent.glob(f"*/{FOLDER}/{cell.cell}"))
        for storage in dict.fromkeys([own, *(str(one.parent) for one in beside)]):
            data = Checkpoints(storage, cell.cell).read()
            state = decode_state(data, self.device) if data is not None else None
            if state is not None and len(json.loads(state["history"])) == cell.steps:
                return state
        raise UserError(
            f"no checkpoint of the end of cell {cell.cell} (variant '{cell.variant}', seed {cell.seed}) in {own}; "
            "where the run was made with --storage, give it here too"
        )


def open_run(directory: str | Path, data: str | None = None, storage: str | None = None) -> FinishedRun:
    """Open a run.

    Args:
        directory: that `raysearch.sweep` wrote.
        data: path or URI of its shards, where they are no longer where they were.
        storage: path or URI of its checkpoints, where they are not in the directory.

    Raises:
        UserError: not a run directory, no data there, or other data than the run was made of.
    """
    record, path = results.read_study(directory), Path(directory)
    torch.set_num_threads(1)  # as in a study's workers: more threads add in another order
    place = Location.parse(data if data is not None else record.data.recorded_path())
    if data is None and place.file_type() != FileType.Directory:
        raise UserError(f"the run's data set is no longer at {place}; say where with --data")
    run = FinishedRun(path, record, place, storage)
    if run.manifest.content_hash != record.data.content_hash:
        raise UserError(f"{place} holds other data than the run was made of; say with --data where that is")
    return run
