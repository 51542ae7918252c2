"""Environment variables that Ray reads and does not document."""

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
ON_NETWORK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
AUTH_MODE = "RAY_AUTH_MODE"
AUTH_TOKEN = "RAY_AUTH_TOKEN"

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
ENVIRONMENT_OF = "RAYSEARCH_ENVIRONMENT_OF"
ACTOR_ENVIRONMENT = {
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
