"""A trained model in one file: how it is written and read, whatever its task.

The file holds all that answers depend on: the config, the seed, the weights, and how images become pixels. It names the
data set that it was trained on. `torch.load(weights_only=True)` reads it; nothing is downloaded. The same run gives the
same file, byte for byte.
"""

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError

from raysearch.core import atomic
from raysearch.core.errors import UserError
from raysearch.data.preprocessing import Preprocessing
from raysearch.data.shards.manifest import Manifest
from raysearch.data.shards.shard_rows import file_sha256
from raysearch.studies.configs import TASKS, FewshotConfig, RetrievalConfig

T = TypeVar("T")

FORMAT = 1  # raised when an older raysearch could not read the file, or this one no longer reads older files


def write(
    path: str | Path,
    config: RetrievalConfig | FewshotConfig,
    seed: int,
    own: Mapping[str, Any],
    data: Manifest,
    metrics: Mapping[str, Any],
) -> None:
    """Write a model; a file that is there is replaced whole or left as it is.

    Args:
        path: of the file.
        config: of the run.
        seed: of the run.
        own: what the files of this task hold beside what all do: weights, and what they are to be read with.
        data: what it was trained on.
        metrics: of its evaluation.

    Raises:
        UserError: the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "seed": seed,
        **own,
        "preprocessing": Preprocessing(config.data.side, config.data.zoom).plain(),
        "data": {"name": data.name, "content_hash": data.content_hash, "classes": list(data.classes)},
        "metrics": {name: value for name, value in metrics.items() if isinstance(value, float)},
    }
    written = io.BytesIO()  # of a file torch.save writes the name into the content, and two runs would differ
    torch.save(content, written)
    try:
        atomic.replace_file(Path(path), lambda temporary: temporary.write_bytes(written.getbuffer()))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def load(path: str | os.PathLike[str], task: str, restore: Callable[[Mapping[str, Any], str], T]) -> T:
    """Read a model.

    Args:
        path: of the file.
        task: that it is to be of, a name in TASKS.
        restore: makes the model of the file's content and its SHA-256.

    Raises:
        UserError: no such file, no model in it, one of another task or format, or one that cannot be restored.
    """
    file, make_one = Path(path), f"make one with: python -m raysearch.train {task} --export model.pt"
    if not file.is_file():
        raise UserError(f"{path} is no file; {make_one}" if file.exists() else f"no model {path}; {make_one}")
    try:
        content = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises several kinds for a file that it did not write, or not whole
        raise UserError(f"{path} is no model file, or a damaged one ({type(error).__name__}); {make_one}") from None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise UserError(f"{path} is no exported model (--out writes a trained state); {make_one}")
    if content["format"] != FORMAT:
        raise UserError(
            f"{path} is a model of format {content['format']} and this raysearch reads format {FORMAT}; "
            + ("upgrade raysearch" if content["format"] > FORMAT else "export it again")
        )
    config = content.get("config")
    own = config.get("task") if isinstance(config, dict) else None
    kind = TASKS[own].model if isinstance(own, str) and own in TASKS else None
    if kind is not None and own != task:
        raise UserError(f"{path}: this is {kind.description}, see {kind.command}")
    try:
        return restore(content, file_sha256(file))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{path} was trained with another config than this raysearch knows, first at {where}") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} does not fit this version of raysearch ({reason}); export it again") from None


def place(device: torch.device | str | None) -> torch.device:
    """Where a model computes: where it is told to, else on a GPU where there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
