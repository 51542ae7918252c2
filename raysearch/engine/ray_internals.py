"""Everything of Ray that raysearch uses although Ray does not document it.

Ray's public interface has no way to do these things. Each is one small function here, with the reason, and has a test
in `tests/engine/test_ray_internals.py` that fails by name when a new version of Ray changes it. No other module uses
private names of Ray. Optuna needs no entry: its public ask and tell are enough.

Tune and Train are imported inside the functions that need them, so that commands which only look at a cluster stay
fast.
"""

import asyncio
import contextlib
import functools
import importlib
import json
import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import yaml
from ray._private import ray_constants, services
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.experimental.internal_kv import _internal_kv_get

from raysearch.core import environment

if TYPE_CHECKING:
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
    from ray.tune.experiment import Trial

_log = logging.getLogger(__name__)

# ---- Environment variables ----

# Ray's head remembers ended tasks, actors and workers for its dashboard, at about 3 kB each. Ray's own limits are
# 100,000 of each. A cluster that runs sweep after sweep would fill them until its head is out of memory.
HEAD_HISTORY_LIMITS = {
    "RAY_task_events_max_num_task_in_gcs": 10_000,
    "RAY_maximum_gcs_destroyed_actor_cached_count": 1_000,
    "RAY_maximum_gcs_dead_worker_cached_count": 1_000,
}

# The driver's settings. A task that asks for no GPU keeps CUDA_VISIBLE_DEVICES as it is. Trial actors, mailboxes and
# controllers idle beside the workers, and Ray's threshold for a warning about many processes is the number of CPUs.
DRIVER_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_maximum_startup_concurrency": "8",
}

# The settings of a cluster that the driver starts. When the driver is killed its cluster never comes back, and Ray's
# last processes look for it no longer than this.
LOCAL_ENVIRONMENT = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",  # seconds
    **{name: str(limit) for name, limit in HEAD_HISTORY_LIMITS.items()},
}

# The port at which `ray.init(address="local")` starts its head.
HEAD_PORT = "RAY_GCS_SERVER_PORT"

# With "0" a node's address is 127.0.0.1, and all of Ray's servers listen there only. Ray sets it on macOS and Windows.
_ON_NETWORK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_AUTH_MODE = "RAY_AUTH_MODE"
_AUTH_TOKEN = "RAY_AUTH_TOKEN"

# The results are stored by raysearch. Tune's own record of a run is thrown away, so writing it is kept to a minimum.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed cell has no metric
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_RESULT_BUFFER_LENGTH": "1000",  # short steps are sent together...
    "TUNE_RESULT_BUFFER_MIN_TIME_S": "0.5",  # ...twice a second
    "TUNE_RESULT_BUFFER_MAX_TIME_S": "0.5",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}
_PENDING_TRIALS = "TUNE_MAX_PENDING_TRIALS_PG"

# Read in the process that starts a worker group. Every cell is checkpointed as it goes and needs no warning.
TRAIN_ENVIRONMENT = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}

# The process whose environment a local Ray has, with what Tune and Train would give to each actor.
_ENVIRONMENT_OF = "RAYSEARCH_ENVIRONMENT_OF"
_ACTOR_ENVIRONMENT = {
    "PL_DISABLE_FORK": "1",
    **TRAIN_ENVIRONMENT,
    **{name: value for name, value in TUNE_ENVIRONMENT.items() if name.startswith("RAY_TRAIN_")},
}


def tune_environment(buffered: bool, max_trials: int) -> dict[str, str]:
    """Return the variables that Tune reads when a run starts.

    Args:
        buffered: let Tune send the results of short steps together. A scheduler must see each result at once.
        max_trials: trials that may wait for resources at a time.
    """
    variables = TUNE_ENVIRONMENT | {_PENDING_TRIALS: str(max_trials)}
    return variables if buffered else variables | {"TUNE_RESULT_BUFFER_LENGTH": "1"}


# ---- The start of Ray ----


@contextlib.contextmanager
def only_for_this_process() -> Iterator[None]:
    """Let a Ray that starts in the block answer this process and its children only, on the loopback address.

    It requires a random token, which is in the environment and in no file. By itself Ray writes one to
    `~/.ray/auth_token`, readable by everybody, and listens at the machine's address. Ray reads all of these settings
    when it is imported, so what it has kept is renewed, at the end too.

    All of its processes inherit this environment; see `actors_inherit_environment`.
    """
    variables = random_token() | {_ON_NETWORK: "0"} | _ACTOR_ENVIRONMENT | {_ENVIRONMENT_OF: str(os.getpid())}
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
    return {_AUTH_MODE: "token", _AUTH_TOKEN: secrets.token_hex(32)}


def current_token() -> str:
    """Return the token of the Ray that `only_for_this_process` started."""
    return os.environ[_AUTH_TOKEN]


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


# ---- The cluster ----


# A resource of the head alone, of which there is 1. Whatever takes some of it runs on the head.
HEAD_RESOURCE = "node:__internal_head__"
ON_HEAD = {HEAD_RESOURCE: 1e-4}
_ANSWER_SECONDS = 60.0
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Autoscaler:
    """What a cluster's autoscaler may add to the head.

    Args:
        types: for each type of node its resources, as Ray counts them, and how many there may be. Empty: not known.
        max_nodes: nodes of all types together.
    """

    types: tuple[tuple[Mapping[str, float], int], ...] = ()
    max_nodes: int = 0


def autoscaler() -> Autoscaler | None:
    """Return what the cluster's autoscaler may add; None without an autoscaler.

    Ray has no public way to ask. Its autoscaler runs on the head and has a configuration there: a file, or with KubeRay
    the RayCluster object. So a task on the head reads it.
    """
    if not _has_autoscaler():
        return None
    address = ray.get_runtime_context().gcs_address
    reading = _read_autoscaler_config.options(resources=ON_HEAD).remote(int(address.rpartition(":")[2]))
    try:
        return ray.get(reading, timeout=_ANSWER_SECONDS)
    except ray.exceptions.RayError as error:  # the head has another raysearch, or none
        _log.info("the head does not report which nodes the autoscaler may add: %s", error)
        return Autoscaler()


def _has_autoscaler() -> bool:
    no_report = "0"
    if get_cluster_status(ray.get_runtime_context().gcs_address).stats.autoscaler_version != no_report:
        return True
    # Before version 2 the autoscaler leaves its status as text. A head that was started without one makes up a type for
    # each node, with this prefix.
    status = json.loads(_internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS) or "{}")
    if not status:  # in a cluster's first seconds; a cluster without CPUs waits for somebody to add nodes
        return not ray.cluster_resources().get("CPU")
    types = status.get("autoscaler_report", {}).get("node_type_mapping", {}).values()
    return any(not name.startswith("node_") for name in types)


@ray.remote(num_cpus=0, max_retries=0)
def _read_autoscaler_config(port: int) -> Autoscaler:
    """Return what the autoscaler on this machine may add to the cluster whose head listens at a port."""
    file = _autoscaler_file(port)
    if file is not None:
        return parse_autoscaler_config(yaml.safe_load(file.read_text(encoding="utf-8")))
    name = os.environ.get("RAY_CLUSTER_NAME")  # KubeRay's
    namespace = _SERVICE_ACCOUNT / "namespace"
    if name is None or not namespace.exists():
        return Autoscaler()
    from ray.autoscaler._private.kuberay.autoscaling_config import AutoscalingConfigProducer

    return parse_autoscaler_config(AutoscalingConfigProducer(name, namespace.read_text().strip())())


def _autoscaler_file(port: int) -> Path | None:
    """Return the configuration file of the autoscaler process of a cluster; None if it has none on this machine."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process ended
            if process.stat().st_uid != os.getuid():
                continue
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            options = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
            if options.get("--gcs-address", "").endswith(f":{port}") and "--autoscaling-config" in options:
                return (process / "cwd").readlink() / Path(options["--autoscaling-config"]).expanduser()
    return None


def parse_autoscaler_config(config: Mapping[str, Any]) -> Autoscaler:
    """Return what an autoscaler with this configuration may add, if it states the CPUs of all nodes.

    Args:
        config: the content of a file for `ray up`, as Ray completes it.
    """
    max_nodes = int(config.get("max_workers", 0))
    sections = config.get("available_node_types") or {}
    types = tuple(
        (dict(section.get("resources") or {}), min(max_nodes, int(section.get("max_workers", max_nodes))))
        for name, section in sections.items()
        if name != config.get("head_node_type")
    )
    if not all("CPU" in resources for resources, _ in types):  # machines of one's own show when they join
        return Autoscaler()
    return Autoscaler(types, max_nodes)


def check_cluster_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cluster file's content as `ray up` completes it, after Ray's own checks. `ray up` has no dry run.

    Args:
        config: the parsed YAML. It is changed.

    Raises:
        Exception: Ray does not accept the file.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


def wait_until_alive(actor: Any, seconds: float) -> None:
    """Return when an actor answers. Ray's public ways to wait need a method of the actor's own that is free.

    Raises:
        ray.exceptions.RayActorError: the actor is dead.
        ray.exceptions.GetTimeoutError: it did not answer in time.
    """
    ray.get(actor.__ray_ready__.remote(), timeout=seconds)


# ---- Tune ----


@contextlib.contextmanager
def signals_left_alone() -> Iterator[None]:
    """Keep Tune from handling signals itself in the block. It has a switch for SIGINT, and none for SIGUSR1.

    Tune's handlers would end the run without a word of how to continue it.
    """
    module: Any = importlib.import_module("ray.tune.tune")  # the package has a function of the same name
    setup = module._setup_signal_catching
    module._setup_signal_catching = threading.Event
    try:
        yield
    finally:
        module._setup_signal_catching = setup


@contextlib.contextmanager
def actors_inherit_environment() -> Iterator[None]:
    """Have Tune start trial actors without a runtime environment, on a Ray that this process started.

    Tune hands each trial actor some of the driver's variables in one, and the actor's own actors inherit it. Ray then
    starts Python twice for each, and cannot use the workers that it started in advance. The processes of a local Ray
    have the driver's environment anyway. On a cluster this does nothing.
    """
    if os.environ.get(_ENVIRONMENT_OF) != str(os.getpid()):
        yield
        return
    cache: Any = importlib.import_module("ray.tune.execution.class_cache")._ActorClassCache
    get = cache.get
    cache.get = lambda self, trainable: self._cache.setdefault(trainable, ray.remote(trainable))
    try:
        yield
    finally:
        cache.get = get


class NotSaved:
    """A mixin for what is handed to Tune. Tune pickles its parts for a restore, which raysearch never asks for."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TrialMaker:
    """Makes Tune trials one by one, as Tune's own search algorithms do. The public ones cannot choose a trial's id."""

    def __init__(self) -> None:
        from ray.tune.experiment.config_parser import _make_parser

        self._parser = _make_parser()

    def make(self, spec: Mapping[str, Any], config: Mapping[str, Any], trial_id: str) -> "Trial":
        """Return a trial.

        Args:
            spec: the experiment's specification, which Tune gives to a search algorithm.
            config: the trial's config.
            trial_id: the trial's id, and the name of its folder.
        """
        from ray.tune.experiment.config_parser import _create_trial_from_spec

        return _create_trial_from_spec(
            {**spec, "config": dict(config)}, self._parser, trial_id=trial_id, experiment_tag=trial_id
        )


def forget_trial(trials: list["Trial"], trial: "Trial") -> None:
    """Remove an ended trial from Tune's list, which Tune goes through at every step: 10,000 cells would slow it down.

    Args:
        trials: the list that Tune hands to callbacks, which is its own.
        trial: which has ended.
    """
    with contextlib.suppress(ValueError):
        trials.remove(trial)


def count_failures(trial: "Trial") -> int:
    """Return the failures of a trial that Tune counts towards `max_failures`."""
    return trial.run_metadata.num_failures


def set_failures(trial: "Trial", count: int) -> None:
    """Change the failures that Tune counts. It counts over a trial's life; raysearch counts since the last progress."""
    trial.run_metadata.num_failures = count


def last_failure(trial: "Trial") -> str:
    """Return Tune's account of why the last attempt at a trial failed: a traceback, or the description of a dead actor.

    Tune keeps the accounts of all attempts in one file per trial. The text is empty if there is none.
    """
    text = ""
    with contextlib.suppress(OSError, TypeError):
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    return text.rpartition("Failure #")[2]


def keep_warm_actors(tune_controller: Any, placement_group_factory: Any, count: int) -> None:
    """Have Tune keep idle actors for paused trials. By itself it keeps one, and a worker group starts slowly.

    Args:
        tune_controller: the controller that Tune gives to a scheduler.
        placement_group_factory: the resources of the trials that share the actors.
        count: actors to keep besides Tune's own.
    """
    tune_controller._tune_controller._actor_cache.increase_max(placement_group_factory, count)


# ---- Train ----

# Ray Train starts actors beside each worker group. The cleaner of placement groups asks the State API whether its
# controller lives, and stays for ever where there is no State API. The manager of data sets has no data set here.
_UNUSED_CALLBACKS = ("PlacementGroupCleanerCallback", "DatasetsCallback")


def drop_unused_callbacks(trainer: "DataParallelTrainer", names: Sequence[str] = _UNUSED_CALLBACKS) -> None:
    """Have a trainer start without the helpers that raysearch does not need. Train has no switch for them."""
    create_callbacks = trainer._create_default_callbacks
    trainer._create_default_callbacks = lambda: [
        callback for callback in create_callbacks() if type(callback).__name__ not in names
    ]


class _NoActorClass:
    """Stands for the class of an actor that nobody calls; starts no process."""

    @classmethod
    def options(cls, **_: Any) -> type["_NoActorClass"]:
        return cls

    @classmethod
    def remote(cls, **_: Any) -> str:
        return "no actor"


class _NoCoordinator:
    """Stands for the client of the actor that tells the autoscaler of the resources of all worker groups."""

    def __init__(self, requester: str) -> None:
        pass

    def send_resource_request(self, *_: Any) -> None:
        pass

    def maybe_send_resource_request(self, *_: Any) -> None:
        pass

    def cancel_resource_request(self) -> None:
        pass


def start_without_actors(trainer: "DataParallelTrainer") -> None:
    """Have a trainer run its controller in this process, and start no actor but its workers.

    Train starts an actor for its controller, one for the barrier of `ray.train.report`, and one that asks the
    autoscaler for resources. Each is a process that imports Train for seconds. raysearch does not report to Train, and
    the autoscaler sees the placement group that waits. Train has no switch for them.
    """
    from ray.train.v2._internal.execution.controller import TrainController
    from ray.train.v2._internal.execution.scaling_policy import scaling_policy
    from ray.train.v2._internal.execution.worker_group import state, worker_group

    def _run_here(**arguments: Any) -> Any:
        controller = TrainController(**arguments)
        asyncio.run(controller.run())
        return controller.get_result()

    trainer._initialize_and_run_controller = _run_here
    worker_group.SynchronizationActor = _NoActorClass
    state._shutdown_sync_actor = lambda actor: None
    scaling_policy.TrainAutoscalingCoordinatorClient = _NoCoordinator
    if _ENVIRONMENT_OF in os.environ:  # inherited by the workers too
        worker_group.get_env_vars_to_propagate = dict
