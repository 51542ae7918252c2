"""TensorBoard: one folder of event files per cell, below a folder per variant.

A cell that continues writes a further event file into its folder, and asks readers to drop what an interrupted process
wrote of later steps. The config is written as hyper-parameters, for TensorBoard's table of them. TensorBoard's own
writer is used, which raises errors of the disk and needs no torch.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

from raysearch.engine.trackers.tracker import Numbers, Outcome, TrackedCell


class TensorboardTracker:
    """Writes event files.

    Args:
        folder: the log directory.
        study: the study's name.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self._folder = folder
        self._writers: dict[str, EventFileWriter] = {}  # of running cells

    def log_step(self, cell: TrackedCell, step: int, values: Numbers) -> None:
        """Write a scalar per value."""
        if cell.cell not in self._writers:
            self._writers[cell.cell] = self._open(cell)
            if step > 1:
                purge = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                self._writers[cell.cell].add_event(event_pb2.Event(step=step, session_log=purge))
        _add(self._writers[cell.cell], _scalars(values), step)

    def finish(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Write final metrics and config, and close the cell's file."""
        last_step = len(outcome.history)
        writer = self._writers.pop(cell.cell, None) or self._open(cell)
        _add(writer, _scalars(outcome.final_metrics), last_step)
        _add(writer, _text("status", outcome.error or outcome.status), last_step)
        _add(writer, hparams.hparams_pb(_plain({"variant": cell.variant, "seed": cell.seed, **cell.config})), last_step)
        writer.close()

    def judge(self, cell: TrackedCell, outcome: Outcome) -> None:
        """Write the verdict as a text into a further file."""
        writer = self._open(cell)
        _add(writer, _text("verdict", json.dumps(outcome.verdict)), len(outcome.history))
        writer.close()

    def close(self) -> None:
        """Close all files."""
        for writer in self._writers.values():
            writer.close()

    def _open(self, cell: TrackedCell) -> EventFileWriter:
        return EventFileWriter(str(self._folder / cell.folder))


def _add(writer: EventFileWriter, summary: summary_pb2.Summary, step: int) -> None:
    """Write a summary to the disk, whose errors are raised here."""
    writer.add_event(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))
    writer.flush()


def _scalars(values: Numbers) -> summary_pb2.Summary:
    return summary_pb2.Summary(
        value=[summary_pb2.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    )


def _text(tag: str, text: str) -> summary_pb2.Summary:
    value = summary_pb2.Summary.Value(
        tag=tag,
        metadata=text_metadata.create_summary_metadata(tag, ""),
        tensor=tensor_util.make_tensor_proto([text.encode()]),
    )
    return summary_pb2.Summary(value=[value])


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config whose values are those that TensorBoard takes."""
    return {
        name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for name, value in config.items()
        if value is not None
    }
