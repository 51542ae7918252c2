"""The start of a Ray on this machine: for this process alone, and without what raysearch does not need."""

import contextlib
import functools
import os
import secrets
import signal
import threading
from collections.abc import Iterator

from ray._private import ray_constants, services
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

from raysearch.core import environment
from raysearch.engine.ray_internals import settings


@contextlib.contextmanager
def only_for_this_process() -> Iterator[None]:
    """Let a Ray that starts in the block answer this process and its children only, on the loopback address.

    It requires a random token, which is in the environment and in no file. By itself Ray writes one to
    `~/.ray/auth_token`, readable by everybody, and listens at the machine's address. Ray reads all of these settings
    when it is imported, so what it has kept is renewed, at the end too.

    All of its processes inherit this environment; see `actors_inherit_environment`.
    """
    variables = (
        random_token()
        | {settings.ON_NETWORK: "0"}
        | settings.ACTOR_ENVIRONMENT
        | {settings.ENVIRONMENT_OF: str(os.getpid())}
    )
    on_network = ray_constants.ENABLE_RAY_CLUSTER
    try:
        with environment.variables_set(variables):
            ray_constants.ENABLE_RAY_CLUSTER = False
            _renew_authentication()
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = on_network
        _renew_authentication()


def random_token() -> dict[str, str]:
    """Return variables by which a Ray that starts with them requires a new token, and its drivers have it."""
    return {settings.AUTH_MODE: "token", settings.AUTH_TOKEN: secrets.token_hex(32)}


def current_token() -> str:
    """Return the token of the Ray that `only_for_this_process` started."""
    return os.environ[settings.AUTH_TOKEN]


@contextlib.contextmanager
def handlers_restored() -> Iterator[None]:
    """Put the caller's handler of SIGTERM back after a `ray.init` in the block, which installs one of Ray's.

    Ray's handler ends the process at once, with its own exit code. A caller without a handler keeps Ray's, which ends
    the processes of a local Ray too.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def process_groups() -> Iterator[None]:
    """Give each process of a local Ray that starts in the block a process group of its own.

    A terminal, `timeout` and `kill -TERM -GROUP` send a signal to the caller's whole group. Ray's processes block
    SIGINT alone. SIGTERM would end them, and the caller needs them to stop in good order.
    """
    popen = services.ConsolePopen
    services.ConsolePopen = functools.partial(popen, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = popen


@contextlib.contextmanager
def no_api_server() -> Iterator[None]:
    """Let a local Ray start in the block without the process that serves its dashboard.

    Ray starts it without a dashboard too, to report its usage, and `ray.init` waits a second for it.
    """
    start = services.start_api_server
    services.start_api_server = lambda *_, **__: (None, None)  # as if it had not started, which Ray goes on after
    try:
        yield
    finally:
        services.start_api_server = start


def _renew_authentication() -> None:
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
