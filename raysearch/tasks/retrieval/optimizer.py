"""SGD of FCAENet: the trunk at the config's rate, new layers at a multiple of it, both falling at milestones."""

from typing import Any

from torch.optim import SGD

from raysearch.studies.configs import TrainConfig
from raysearch.tasks.retrieval.network import Network


def build_optimizer(network: Network, config: TrainConfig) -> SGD:
    """An optimiser of two groups; a group's `scale` is its rate over the trunk's."""
    new = [parameter for layer in network.new_layers() for parameter in layer.parameters()]
    known = {id(parameter) for parameter in new}
    trunk = {"params": [one for one in network.parameters() if id(one) not in known], "scale": 1.0}
    head = {"params": new, "scale": config.hash_lr}
    return SGD([trunk, head], lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def set_rate(optimiser: SGD, config: TrainConfig, iteration: int) -> float:
    """Set the rates of an outer iteration, counted from 0 after the warm-up; returns the trunk's."""
    # Rounded, since 0.55 * 100 is a little more than 55.
    falls = sum(iteration >= round(share * config.iterations, 6) for share in config.milestones)
    rate = config.lr * 0.1**falls
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]
    return rate


def set_same_rate(optimiser: SGD, rate: float) -> float:
    """Set one rate for all groups, as in the warm-up; returns it."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def load(optimiser: SGD, state: dict[int, Any]) -> None:
    """Take over what a run remembers of its gradients; scale, momentum and weight decay stay the optimiser's own.

    Args:
        state: "state" of another optimiser's `state_dict`.
    """
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
