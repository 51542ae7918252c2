"""Nothing that a test writes outlives the run."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysearch.data import synthetic

from .s3_server import s3, s3_server

__all__ = ["s3", "s3_server"]  # for the tests of every folder

_STATUS = pytest.StashKey[int]()

# A script's background jobs ignore Ctrl-C, and so would every process that a test starts and then interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    spec = synthetic.SyntheticSpec(classes=4, train_per_class=12, test_per_class=5, side=32)
    return synthetic.ensure_shards(spec, tmp_path_factory.mktemp("data"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave with the status of the tests, past the interpreter's own end.

    Ray and Arrow leave threads in a process that was connected. After all tests had ended and been counted, the
    interpreter has crashed in one of them while it took itself down, and a crash counts as a failure.
    """
    if "ray" in sys.modules and _STATUS in config.stash and not hasattr(config, "workerinput"):
        sys.modules["ray"].shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_STATUS])
