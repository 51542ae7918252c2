"""Everything of Ray that raysearch uses although Ray does not document it.

Ray's public interface has no way to do these things. Each is one small function here, with the reason, and has a test
in `tests/engine/test_ray_internals.py` that fails by name when a new version of Ray changes it. No other package uses
private names of Ray; those of Optuna are in `optuna_internals.py`.

Tune and Train are imported inside the functions that need them, so that commands which only look at a cluster stay
fast.
"""

from raysearch.engine.ray_internals.cluster import (
    HEAD_RESOURCE,
    ON_HEAD,
    Autoscaler,
    autoscaler,
    check_cluster_config,
    parse_autoscaler_config,
    wait_until_alive,
)
from raysearch.engine.ray_internals.local_ray import (
    current_token,
    handlers_restored,
    no_api_server,
    only_for_this_process,
    process_groups,
    random_token,
)
from raysearch.engine.ray_internals.settings import (
    DRIVER_ENVIRONMENT,
    HEAD_HISTORY_LIMITS,
    HEAD_PORT,
    LOCAL_ENVIRONMENT,
    TRAIN_ENVIRONMENT,
    TUNE_ENVIRONMENT,
    tune_environment,
)
from raysearch.engine.ray_internals.train_hooks import (
    UNUSED_CALLBACKS,
    drop_unused_callbacks,
    start_without_actors,
)
from raysearch.engine.ray_internals.tune_hooks import (
    NotSaved,
    TrialMaker,
    actors_inherit_environment,
    count_failures,
    forget_trial,
    keep_warm_actors,
    last_failure,
    set_failures,
    signals_left_alone,
)

__all__ = [
    "DRIVER_ENVIRONMENT",
    "HEAD_HISTORY_LIMITS",
    "HEAD_PORT",
    "HEAD_RESOURCE",
    "LOCAL_ENVIRONMENT",
    "ON_HEAD",
    "TRAIN_ENVIRONMENT",
    "TUNE_ENVIRONMENT",
    "UNUSED_CALLBACKS",
    "Autoscaler",
    "NotSaved",
    "TrialMaker",
    "actors_inherit_environment",
    "autoscaler",
    "check_cluster_config",
    "count_failures",
    "current_token",
    "drop_unused_callbacks",
    "forget_trial",
    "handlers_restored",
    "keep_warm_actors",
    "last_failure",
    "no_api_server",
    "only_for_this_process",
    "parse_autoscaler_config",
    "process_groups",
    "random_token",
    "set_failures",
    "signals_left_alone",
    "start_without_actors",
    "tune_environment",
    "wait_until_alive",
]
