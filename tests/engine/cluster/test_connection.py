"""The connection to Ray: by address or started here, its log, and what its head remembers."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest
import ray
from ray.cluster_utils import Cluster

from raysearch.core import UserError
from raysearch.core.logging import ROOT
from raysearch.engine import ray_internals
from raysearch.engine.cluster import capacity, connection
from raysearch.engine.cluster.capacity import Slots, TrialResources

from ..heads import cluster_with_one_cpu


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with cluster_with_one_cpu(monkeypatch) as cluster:
        yield cluster


def test_the_given_address_is_joined(nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself prefers RAY_ADDRESS to the address that it is given."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with connection.connected(nodes.address):
        assert ray.get_runtime_context().gcs_address == nodes.address
    assert os.environ["RAY_ADDRESS"] == "127.0.0.1:1"
    with pytest.raises(UserError, match="no Ray cluster answers at"), connection.connected(None):
        raise AssertionError


def test_the_address_of_a_dashboard_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the shell has it after `ray job submit`."""
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(UserError, match=r"address of a dashboard.*unset RAY_ADDRESS"), connection.connected(None):
        raise AssertionError


def test_without_an_address_ray_starts_here_and_stops_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with connection.connected(None):
        assert Slots(TrialResources())() == int(ray.cluster_resources()["CPU"])
        assert capacity.hardware()["nodes"] == 1
        with connection.connected(None):  # the first connection stays open
            pass
        assert ray.is_initialized()
    assert not ray.is_initialized()


def test_a_local_head_has_limits_on_its_history(monkeypatch: pytest.MonkeyPatch) -> None:
    names = list(ray_internals.HEAD_HISTORY_LIMITS)
    for name in names:
        monkeypatch.setenv(name, "")  # restored at the end
        monkeypatch.delenv(name)
    monkeypatch.setenv(names[0], "7")  # the user's own setting stays
    seen: dict[str, str] = {}
    monkeypatch.setattr(ray, "init", lambda **arguments: seen.update(os.environ))
    connection._start_local({})
    assert [seen[name] for name in names] == ["7", "1000", "1000"]


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The arguments of `ray.init`, which is not called."""
    arguments: dict[str, object] = {}
    monkeypatch.setattr(ray, "init", lambda **given: arguments.update(given))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return arguments


def test_a_pinned_process_starts_ray_with_its_cpus_only(arguments: dict[str, object]) -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with connection.connected(None):
            assert arguments["num_cpus"] == 1
    finally:
        os.sched_setaffinity(0, cores)


def test_the_handler_of_sigterm_stays(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, object]) -> None:
    """Ray installs one of its own, which ends the process at once."""
    monkeypatch.setattr(ray, "init", lambda **given: signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for address in (None, "auto"):
            with connection.connected(address):
                assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("level", "ray_level", "workers"),
    [(logging.WARNING, "ERROR", False), (logging.INFO, "INFO", False), (logging.DEBUG, "DEBUG", True)],
)
def test_the_log_of_ray_follows_the_log_of_raysearch(
    arguments: dict[str, object],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    level: int,
    ray_level: str,
    workers: bool,
) -> None:
    tune = logging.getLogger("ray.tune")
    before = tune.level
    tune.setLevel(logging.NOTSET)
    caplog.set_level(level, logger=ROOT)
    try:
        with connection.connected(None):
            pass
        silenced = tune.level == logging.CRITICAL
    finally:
        tune.setLevel(before)
    assert (arguments["logging_level"], arguments["log_to_driver"]) == (ray_level, workers)
    assert silenced is (level == logging.WARNING)
    assert bool(caplog.records) is not silenced
    assert capfd.readouterr() == ("", ""), "the terminal shows nothing by itself"


def test_a_slow_start_names_the_log_files(
    arguments: dict[str, object], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    monkeypatch.setattr(connection, "_SLOW_SECONDS", 0.01)
    monkeypatch.setattr(ray, "init", lambda **given: told.wait(20))
    handler = logging.Handler()
    handler.emit = lambda record: told.set() if "still waiting" in record.msg else None  # type: ignore[method-assign]
    caplog.set_level(logging.INFO, logger=ROOT)
    logger = logging.getLogger(ROOT)
    logger.addHandler(handler)
    try:
        with connection.connected(None):
            pass
    finally:
        logger.removeHandler(handler)
    assert told.is_set()
    waiting = next(record.getMessage() for record in caplog.records if "still waiting" in record.msg)
    assert "for Ray on this machine" in waiting
    assert str(connection.log_directory()) in waiting
