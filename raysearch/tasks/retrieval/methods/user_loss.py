"""A user's loss as a hashing method: `(outputs (B, bits), labels (B,)) -> scalar`, or a class with settings and state.

A class is made once per run. If it has `state_dict` and `load_state_dict`, as every `nn.Module` has, its state is part
of the checkpoint. Parameters of a module are trained with the rate of the hash layer.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from raysearch.core import UserError, type_of
from raysearch.studies.configs import RetrievalConfig
from raysearch.studies.configs.user.parts import PartSettings, named_arguments
from raysearch.tasks.base import Worker
from raysearch.tasks.retrieval.methods.pairwise import PairwiseMethod
from raysearch.tasks.retrieval.network import Network
from raysearch.tasks.retrieval.sampling import RunSampler
from raysearch.tasks.user import explain_user_error


class UserLoss(PairwiseMethod):
    """A user's loss on linear outputs; implements `Method`.

    Args:
        loss: the function or class.
        settings: the settings that it takes; None if it takes none.
        config: the config of the run.
        sampler: the sampler of the run.
        worker: the worker that the run is trained on.
        network: the network that is trained.

    Raises:
        UserError: parameters of its own, under several workers.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        settings: PartSettings | None,
        config: RetrievalConfig,
        sampler: RunSampler,
        worker: Worker,
        network: Network,
    ) -> None:
        super().__init__(config, sampler, worker, network)
        self._optimizer: torch.optim.Optimizer | None = None
        available: dict[str, Any] = {"settings": settings.of(config)} if settings is not None else {}
        if isinstance(loss, type):
            available |= {"bits": config.hash.bits, "database_labels": self._labels}
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(sampler.seed)
                self._loss: Any = _explained(lambda: loss(**named_arguments(loss, available)))
            self._arguments: dict[str, Any] = {}
            self._takes_rows = bool(named_arguments(self._loss.__call__, {"rows": None}))
        else:
            self._loss = loss
            self._arguments = named_arguments(loss, available)
            self._takes_rows = bool(named_arguments(loss, {"rows": None}))
        if isinstance(self._loss, nn.Module):
            self._loss.to(worker.device)
            self._takes_rows = bool(named_arguments(self._loss.forward, {"rows": None}))
            parameters = [parameter for parameter in self._loss.parameters() if parameter.requires_grad]
            if parameters and worker.world_size > 1:
                raise UserError(f"{config.hash.method} has parameters, which one worker trains; leave --workers out")
            if parameters:
                train = config.train
                self._optimizer = torch.optim.SGD(
                    parameters, train.lr * train.hash_lr, train.momentum, weight_decay=train.weight_decay
                )

    def batch_loss(self, u: Tensor, labels: Tensor, rows: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Return the user's loss of a batch.

        Raises:
            UserError: it returns something else than a scalar, or named scalars.
        """
        if self._optimizer is not None:  # the gradients of the batch before
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        arguments = self._arguments | ({"rows": rows} if self._takes_rows else {})
        loss = _explained(lambda: self._loss(u, labels, **arguments))
        parts = loss if isinstance(loss, Mapping) else {"loss": loss}
        for name, part in parts.items():
            if not isinstance(part, Tensor) or part.numel() != 1:
                returned = f"a tensor {tuple(part.shape)}" if isinstance(part, Tensor) else type_of(part)
                raise UserError(f"{self._config.hash.method} returned {returned} as '{name}', not a scalar tensor")
        return {name: part.reshape(()) for name, part in loss.items()} if loss is parts else loss.reshape(())

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps, and the state of the user's loss if it has one."""
        state = super().state_dict()
        if hasattr(self._loss, "state_dict"):
            state["loss"] = _explained(self._loss.state_dict)
        if self._optimizer is not None:
            gradients = [p.grad for group in self._optimizer.param_groups for p in group["params"]]
            state |= {"optimizer": self._optimizer.state_dict()["state"], "gradients": gradients}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        if "loss" in state:
            _explained(lambda: self._loss.load_state_dict(state["loss"]))
        if self._optimizer is not None:
            groups = self._optimizer.state_dict()["param_groups"]
            self._optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
            parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
            for parameter, gradient in zip(parameters, state["gradients"], strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter)


def _explained(call: Callable[[], Any]) -> Any:
    """Return what a call of the user's code returns; an error names the line of the user's file."""
    try:
        return call()
    except Exception as error:
        raise explain_user_error(error) from error
