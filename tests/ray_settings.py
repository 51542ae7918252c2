"""Settings of Ray for a while. Ray reads some of them once per process, so a test has to make it read them again."""

import contextlib
from collections.abc import Iterator

import pytest

from raysearch.engine import ray_internals


@contextlib.contextmanager
def ray_settings(**variables: str) -> Iterator[None]:
    """Set variables of the environment in the block. After it, they and Ray's own settings are as before."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            yield
    finally:
        with ray_internals.only_for_this_process():  # Ray reads its settings now, and again at the end
            pass
