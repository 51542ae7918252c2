"""A fixture for tests of networks: the same random numbers in every test, and one thread."""

from collections.abc import Iterator

import pytest
import torch

from .. import devices


@pytest.fixture(autouse=True)
def _on_device() -> Iterator[None]:
    with devices.test_device():
        yield


@pytest.fixture
def same_start() -> Iterator[None]:
    """Seed torch, and restore its random state afterwards."""
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
