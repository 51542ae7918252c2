"""The connection to Ray: join a cluster by its address, or start Ray on this machine and stop it at the end.

A Ray that is started here serves this process only. It listens on the loopback address, requires a random token that is
in no file, and keeps its sockets and logs in a folder that no other user can enter.

Ray's log is silent unless the log of raysearch is on: `-v` shows Ray's own messages, `-vv` also those of its workers.
"""

import contextlib
import functools
import logging
import os
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from raysearch.core import UserError, count_cpus, environment, run_periodically
from raysearch.engine import ray_internals
from raysearch.engine.cluster import dashboard, memory
from raysearch.engine.options import cluster_address

_LOOPBACK = "127.0.0.1"
_CONNECT_SECONDS = 5.0
_LONGEST_DIRECTORY = 18  # characters: a socket's path has at most 107, and the names below a directory up to 89
_SLOW_SECONDS = 10.0  # after which, and at which interval, the log mentions that Ray has not answered
_LIBRARIES = ("ray.data", "ray.tune", "ray.train")
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def connected(address: str | None, show_dashboard: Callable[[str], None] | None = None) -> Iterator[None]:
    """Join a cluster, or start Ray on this machine with all its CPUs and GPUs; disconnect at the end.

    If this process is connected already, the block uses that connection and leaves it open.

    Args:
        address: the cluster's address; None for `RAY_ADDRESS`, or else this machine.
        show_dashboard: takes a line with the address of a dashboard that starts with Ray on this machine; None starts
            none.

    Raises:
        UserError: the cluster does not answer or refuses this process, or Ray does not start here.
    """
    address = cluster_address(address)
    if ray.is_initialized():
        yield
        return
    for name, value in ray_internals.DRIVER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    log_settings = _configure_ray_log()
    protect_token_file()
    if address:
        # Ray prefers the address in the environment to the one that it is given.
        with environment.variables_set({"RAY_ADDRESS": address}):
            with _slow_start_logged(f"the Ray cluster at {address}", address), ray_internals.handlers_restored():
                _join(address, log_settings)
            yield from _until_shutdown()
    else:
        with ray_internals.only_for_this_process():
            with (
                _slow_start_logged("Ray on this machine"),
                ray_internals.handlers_restored(),
                ray_internals.process_groups(),
            ):
                url = _start_local(log_settings, show_dashboard is not None)
            with contextlib.ExitStack() as stack:
                if show_dashboard is not None:
                    stack.enter_context(dashboard.announced(url, private_directory().parent, show_dashboard))
                yield from _until_shutdown()


def free_port() -> int:
    """Return a port that no process listens on at the moment."""
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


def log_directory(address: str | None = None) -> Path:
    """Return the directory of Ray's log files on its head node, as far as this process can know it.

    Args:
        address: the address of the cluster; None for a Ray that this process starts.
    """
    folder = _temporary_directory() / "ray" if address else private_directory()
    return folder / "session_latest" / "logs"


def protect_token_file() -> None:
    """Make the user's file of Ray's token private. Whoever can read it can run code on the clusters that it opens.

    Raises:
        UserError: the file belongs to another user, or cannot be made private.
    """
    path = Path.home() / ".ray" / "auth_token"
    try:
        status = path.stat()
    except OSError:
        return  # there is none, or Ray cannot read it either
    if status.st_uid not in (os.getuid(), 0):
        raise UserError(f"{path} belongs to another user, who could know the token; remove it")
    if status.st_mode & 0o077 == 0:
        return
    try:
        path.chmod(0o600)
    except OSError as error:
        raise UserError(f"other users can read {path} ({error.strerror}); chmod 600 {path}") from None
    _log.warning(
        "other users could read %s; it is private now. Where others use this machine, make a new token: "
        "ray get-auth-token --generate",
        path,
    )


def private_directory() -> Path:
    """Return the temporary directory of a Ray that this process starts, in a folder that only this user can enter.

    Ray makes its directory writable by everybody, so its parent is the one that is closed. The parent has the user's
    number in its name. If another user was there first, a folder with a random name takes its place. On a machine of
    clusters/on_prem.yaml, RAY_TMPDIR is this folder already: one more level would be too long for sockets.
    """
    temporary = _temporary_directory()
    name = f"raysearch-{os.getuid()}"
    is_closed = temporary.name == name
    parent = temporary if is_closed else temporary / name
    with contextlib.suppress(FileExistsError):
        parent.mkdir(mode=0o700)
    status = parent.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        parent = _random_directory(parent)
    elif status.st_mode & 0o077:
        parent.chmod(0o700)
    return parent / ("local" if is_closed else "ray")


@functools.cache
def _random_directory(taken: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{taken.name}-", dir=taken.parent))


def _temporary_directory() -> Path:
    """Return the directory that Ray puts its own into, or `/tmp` where Ray's sockets would have too long a path."""
    chosen = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    return Path("/tmp" if len(chosen) > _LONGEST_DIRECTORY and "RAY_TMPDIR" not in os.environ else chosen)


def _until_shutdown() -> Iterator[None]:
    try:
        yield
    finally:
        ray.shutdown()


def _configure_ray_log() -> dict[str, Any]:
    """Return the arguments of `ray.init` for its log, which follows the log of raysearch."""
    if _log.isEnabledFor(logging.INFO):
        details = _log.isEnabledFor(logging.DEBUG)
        return {
            "log_to_driver": details,
            "logging_level": "DEBUG" if details else "INFO",
            "configure_logging": True,
        }
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}


@contextlib.contextmanager
def _slow_start_logged(target: str, address: str | None = None) -> Iterator[None]:
    """Log the connection, and while it takes long, where to look for the reason."""
    started = time.monotonic()
    logs = log_directory(address)

    def _log_progress() -> None:
        waited = time.monotonic() - started
        if waited >= _SLOW_SECONDS:
            _log.info("still waiting for %s after %.0f s; its log files: %s", target, waited, logs)
        else:
            _log.info("connecting to %s", target)

    with run_periodically(_log_progress, _SLOW_SECONDS):
        yield
    _log.info("connected to %s after %.1f s; its log files: %s", target, time.monotonic() - started, logs)


def _start_local(log_settings: Mapping[str, Any], with_dashboard: bool = False) -> str | None:
    """Start Ray on this machine, beside any other Ray that runs here; return the address of its dashboard, if any.

    Ray's processes search the machine for the address of their cluster, and give up after a minute if they find
    several. So they inherit the address, whose port must then be chosen in advance. As part of a runtime environment it
    would cost each worker a second start of Python, and the workers that Ray starts in advance would have it too late.
    """
    for name, value in ray_internals.LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    shares = memory.ray_shares(memory.slurm_share())
    if "memory" in shares:
        shares["_memory"] = shares.pop("memory")
    port = free_port()
    address = f"{ray.util.get_node_ip_address()}:{port}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(environment.variables_set({ray_internals.HEAD_PORT: str(port), "RAY_ADDRESS": address}))
        if not with_dashboard:
            stack.enter_context(ray_internals.no_api_server())
        try:
            # "local" starts a cluster even if the file of a dead one is still in Ray's temporary directory.
            context = ray.init(
                address="local",
                num_cpus=count_cpus(),  # Ray would count those of the machine
                include_dashboard=with_dashboard,
                dashboard_host=_LOOPBACK,
                _temp_dir=str(private_directory()),
                **shares,
                **log_settings,
            )
        except Exception as error:  # has no class of its own if Ray's processes wait too long on a busy machine
            reason = str(error).splitlines()[0]
            raise UserError(
                f"Ray did not start on this machine: {reason}; its log files are in {log_directory()}"
            ) from error
    return context.dashboard_url if with_dashboard else None


def _join(address: str, log_settings: Mapping[str, Any]) -> None:
    if address.startswith(("http://", "https://")):
        raise UserError(
            f"'{address}' is the address of a dashboard, for `ray job submit -- python -m raysearch.sweep ...`. "
            "To run here instead, give --address auto, or unset RAY_ADDRESS and let Ray start on this machine"
        )
    if address.startswith("ray://"):
        raise UserError(f"--address '{address}': Ray Client cannot run a study; use ray job submit on the cluster")
    _check_answers(address)
    try:
        ray.init(address=address, **log_settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error.__cause__ or error)
        if "InvalidAuthToken" in reason:
            reason = "it requires a token; set RAY_AUTH_MODE=token, and put its token into ~/.ray/auth_token"
        raise UserError(f"cannot join the Ray cluster at '{address}': {reason.splitlines()[0]}") from None


def _check_answers(address: str) -> None:
    """Raise UserError if no process listens at a host and port; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit()):
        return  # Ray resolves others, such as "auto"
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at --address '{address}': {error.strerror or error}") from None
