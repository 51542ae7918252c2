"""The file of a trained model, the same for all tasks.

The file holds everything that predictions depend on: config, seed, weights and preprocessing. It also names the data
set of the training. `torch.load(weights_only=True)` reads it, so no code is unpickled and nothing is downloaded. The
same run gives the same file, byte for byte.
"""

import io
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from pydantic import ValidationError

from raysearch.core import UserError, atomic, count_cpus
from raysearch.data.preprocessing import Preprocessing
from raysearch.data.shards import Manifest, file_sha256
from raysearch.studies.configs import TASKS, FewshotConfig, RetrievalConfig

T = TypeVar("T")

FORMAT = 1  # raised when an older raysearch could not read the file, or this one no longer reads older files


def write_model(
    path: str | Path,
    config: RetrievalConfig | FewshotConfig,
    seed: int,
    task_content: Mapping[str, Any],
    data: Manifest,
    metrics: Mapping[str, Any],
) -> None:
    """Write a model. An existing file is replaced whole or left unchanged.

    Args:
        path: path of the file.
        config: config of the run.
        seed: seed of the run.
        task_content: the entries that only files of this task have, such as the weights.
        data: manifest of the data set it was trained on.
        metrics: metrics of its evaluation.

    Raises:
        UserError: the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "seed": seed,
        **task_content,
        "preprocessing": Preprocessing(config.data.side, config.data.zoom).plain(),
        "data": {"name": data.name, "content_hash": data.content_hash, "classes": list(data.classes)},
        "metrics": {name: value for name, value in metrics.items() if isinstance(value, float)},
    }
    buffer = io.BytesIO()  # torch.save writes a file's name into its content, so two paths would give two digests
    torch.save(content, buffer)
    atomic.write_bytes(Path(path), buffer.getbuffer())


class ExportedModel:
    """A model that an exported file holds; a subclass names its task and is built from the file's content."""

    task: ClassVar[str]  # a name in TASKS

    def __init__(self, content: Mapping[str, Any], sha256: str, device: torch.device) -> None:
        self.seed: int = content["seed"]
        self.data: dict[str, Any] = content["data"]
        self.metrics: dict[str, float] = content["metrics"]
        self.preprocessing = Preprocessing.from_plain(content["preprocessing"])
        self.sha256 = sha256
        self.device = device

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str | None = None) -> Self:
        """Read a model file.

        Args:
            path: path of the file.
            device: device to compute on. None: a GPU if there is one.

        Raises:
            UserError: the file is missing, is not a model, or is a model of another task or format.
        """
        torch.set_num_threads(min(torch.get_num_threads(), count_cpus()))  # torch ignores a container's limit
        return load_model(path, cls.task, partial(cls, device=choose_device(device)))


def load_model(path: str | os.PathLike[str], task: str, restore: Callable[[Mapping[str, Any], str], T]) -> T:
    """Read a model.

    Args:
        path: path of the file.
        task: the task that the model must be of, a name in TASKS.
        restore: builds the model from the file's content and its SHA-256.

    Raises:
        UserError: the file is missing, damaged, not a model, of another task or format, or cannot be restored.
    """
    file = Path(path)
    make_one = f"make one with: python -m raysearch.train {task} --export model.pt"
    if not file.is_file():
        raise UserError(f"{path} is not a file; {make_one}" if file.exists() else f"no model {path}; {make_one}")
    try:
        content = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises many kinds of errors for foreign and truncated files
        raise UserError(f"{path} is not a model file, or is damaged ({type(error).__name__}); {make_one}") from None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise UserError(f"{path} is not an exported model (--out writes a trained state); {make_one}")
    if content["format"] != FORMAT:
        raise UserError(
            f"{path} has model format {content['format']}; this raysearch reads format {FORMAT}; "
            + ("upgrade raysearch" if content["format"] > FORMAT else "export it again")
        )
    config = content.get("config")
    file_task = config.get("task") if isinstance(config, dict) else None
    kind = TASKS[file_task].model if isinstance(file_task, str) and file_task in TASKS else None
    if kind is not None and file_task != task:
        raise UserError(f"{path} is {kind.description}; use it with {kind.command}")
    try:
        return restore(content, file_sha256(file))
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{path} was trained with a config field that this raysearch does not know: {field}") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} does not fit this version of raysearch ({reason}); export it again") from None


def choose_device(device: torch.device | str | None) -> torch.device:
    """Return the given device; for None a GPU if there is one, else the CPU."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
