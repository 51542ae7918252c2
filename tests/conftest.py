"""Nothing that a test writes outlives the run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from raysearch.data import synthetic


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home for Ray's token and a cache for what raysearch keeps, inherited by the processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("RAYSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of a data set that a task goes through in no time: 4 classes, 12 and 5 images of 32 px each."""
    spec = synthetic.Spec(classes=4, train_per_class=12, test_per_class=5, side=32)
    return synthetic.ensure(spec, tmp_path_factory.mktemp("data"))
