"""The identity of starting weights and of a user's code: what a file contains, not where it is."""

import functools
import hashlib
from pathlib import Path
from typing import Annotated

from raysearch.core import UserError
from raysearch.models.backbone_specs import BACKBONES
from raysearch.studies.configs.paths import NameOrPath


def _is_published(weights: str) -> bool:
    return any(weights in BACKBONES[backbone].weights for backbone in BACKBONES)


WeightsSource = Annotated[str, NameOrPath(_is_published)]  # the name of published weights, or a state-dict file


def identity(weights: str | None) -> str | None:
    """Return the SHA-256 of a file of weights, or the name of published weights.

    Raises:
        UserError: a path at which there is no file.
    """
    if weights is None:
        return None
    path = Path(weights)
    if path.is_file():
        return file_digest(path)
    if "/" in weights or path.suffix:
        here = Path.cwd()
        shown = path.relative_to(here) if path.is_relative_to(here) else path  # as it was given
        raise UserError(f"model.weights: no file '{shown}'")
    return weights


def backbone_identities(backbone: str, weights: str | None) -> dict[str, str | None]:
    """Return the identities of a run's backbone, see `RunConfig.identities`.

    Args:
        backbone: value of `model.backbone`.
        weights: value of `model.weights`.

    Raises:
        UserError: no such file of weights.
    """
    identities = {"model.weights": identity(weights)}
    spec = BACKBONES[backbone]
    if spec.source is not None:
        identities["model.backbone"] = f"{backbone} {file_digest(spec.source)}"
    if spec.code is not None:
        identities["model.backbone"] = f"{backbone} {spec.code.identity}"
    return identities


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file. It is read again only when its size or its time of change differs."""
    status = path.stat()
    return _sha256(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
