"""What Train has no switch for: the helpers and actors that it starts beside each worker group."""

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raysearch.engine.ray_internals import settings

if TYPE_CHECKING:
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

# Ray Train starts actors beside each worker group. The cleaner of placement groups asks the State API whether its
# controller lives, and stays for ever where there is no State API. The manager of data sets has no data set here.
UNUSED_CALLBACKS = ("PlacementGroupCleanerCallback", "DatasetsCallback")


def drop_unused_callbacks(trainer: "DataParallelTrainer", names: Sequence[str] = UNUSED_CALLBACKS) -> None:
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
    if settings.ENVIRONMENT_OF in os.environ:  # inherited by the workers too
        worker_group.get_env_vars_to_propagate = dict
