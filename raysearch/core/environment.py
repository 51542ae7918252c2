"""The environment of a run: the versions that it ran with, and environment variables that are set for a while."""

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("raysearch", "ray", "torch", "torchvision", "optuna", "scipy", "pyarrow", "plotly", "pydantic", "numpy")


@contextlib.contextmanager
def variables_set(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the block runs; afterwards each has its former value, or is absent again.

    >>> with variables_set({"RAYSEARCH_EXAMPLE": "1"}):
    ...     os.environ["RAYSEARCH_EXAMPLE"]
    '1'
    >>> "RAYSEARCH_EXAMPLE" in os.environ
    False
    """
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the main packages, and the git commit if raysearch runs from a checkout."""
    result: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            result[package] = None
    return result | {"git": _commit()}


def _commit() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return output.strip() or None
