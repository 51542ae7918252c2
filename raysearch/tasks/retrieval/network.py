"""The network of a retrieval run and its optimizer: SGD with a rate of its own for the new layers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import SGD

from raysearch.models import backbones
from raysearch.models.fcaenet import FCAENet
from raysearch.models.hashing.exchnet import ExchNet
from raysearch.studies.configs import RetrievalConfig, TrainConfig, load_object
from raysearch.tasks.common import step_decay

Network = FCAENet | ExchNet


def build_network(config: RetrievalConfig, seed: int, classes: int) -> Network:
    """Return the network: FCAENet's, or the method's own. Its random weights follow from the seed.

    Args:
        config: the config of the run.
        seed: the seed of the weights that are not given.
        classes: K, labels from 0 to K - 1.

    Raises:
        UserError: weights that do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = backbones.build(config.model.backbone, config.model.weights)
        builder = config.hashing_method.network
        if builder is not None:
            network: Network = load_object(builder)(config, backbone, classes)
            return network
        return FCAENet(backbone, config.hash.bits, config.model.standardise)


def build_optimizer(network: Network, config: TrainConfig) -> SGD:
    """Return an optimizer of two groups, the backbone and the new layers.

    A group's `scale` is its learning rate divided by the backbone's.
    """
    new = [parameter for layer in network.new_layers() for parameter in layer.parameters()]
    new_ids = {id(parameter) for parameter in new}
    backbone = [parameter for parameter in network.parameters() if id(parameter) not in new_ids]
    return SGD(
        [{"params": backbone, "scale": 1.0}, {"params": new, "scale": config.hash_lr}],
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True if next(network.parameters()).device.type == "cuda" else None,  # one kernel for all weights
    )


def set_rate(optimizer: SGD, config: TrainConfig, iteration: int) -> float:
    """Set the rates of an outer iteration, counted from 0 after the warm-up, and return the backbone's."""
    rate = step_decay(config.lr, 0.1, config.milestones, config.iterations, iteration)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    return rate


def set_same_rate(optimizer: SGD, rate: float) -> float:
    """Set one rate for all groups, as the warm-up has it, and return it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def load_optimizer_state(optimizer: SGD, state: Mapping[int, Any]) -> None:
    """Take over the memory of gradients; scale, momentum and weight decay stay the optimizer's own.

    Args:
        optimizer: to continue with.
        state: "state" of another optimizer's `state_dict`.
    """
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
