"""The network of a few-shot run, and its optimizer.

The network is the backbone, the compared taps, the head, and a classifier for the auxiliary losses. The optimizer is
HelixFormer's Adam (arXiv 2207.00784) or LWFM-SPM's SGD (arXiv 2411.06363).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from raysearch.models import backbones
from raysearch.models.fewshot import EpisodicNetwork
from raysearch.studies.configs import FewshotConfig, load_object
from raysearch.studies.configs.fewshot_sections import EpisodicTrainConfig
from raysearch.tasks.common import step_decay


def build_network(
    config: FewshotConfig, seed: int, classes: int, start: Mapping[str, Tensor] | None = None
) -> EpisodicNetwork:
    """Build the network of a config, with parameters drawn from the seed.

    Args:
        config: the config of the run.
        seed: the same one gives the same backbone with every method.
        classes: number of base classes, for the auxiliary losses.
        start: state of a pre-trained backbone.

    Raises:
        UserError: weights that do not fit, or maps that are too small for the head.
    """
    method = config.fewshot_method
    torch.manual_seed(seed)
    backbone = backbones.build(config.model.backbone, config.model.weights)
    if start is not None:
        backbone.load_state_dict(start)
    torch.manual_seed(seed + 1)  # the head is the same whatever the backbone drew
    taps = [backbone.taps[index] for index in method.tap_indices(config)]
    head = load_object(method.build)(config, backbone)
    network = EpisodicNetwork(backbone, taps, head, method.grid(config), classes if config.auxiliary else 0)
    _exclude_unreached(network, config.data.side)
    if config.model.frozen:
        network.backbone.requires_grad_(False)  # training then sees only its maps, made in evaluation mode
    return network


def build_optimizer(network: nn.Module, config: EpisodicTrainConfig) -> Optimizer | None:
    """Build the optimizer of a network's trained parameters; None where none are trained."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained or not config.epochs:
        return None
    if config.optimiser == "adam":
        return Adam(trained, lr=config.lr, weight_decay=config.weight_decay)
    nesterov = config.momentum > 0
    return SGD(trained, config.lr, config.momentum, weight_decay=config.weight_decay, nesterov=nesterov)


def set_rate(optimizer: Optimizer, config: EpisodicTrainConfig, epoch: int) -> float:
    """Set the learning rate of an epoch, counted from 0, and return it."""
    rate = step_decay(config.lr, config.decay, config.milestones, config.epochs, epoch)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def _exclude_unreached(network: EpisodicNetwork, side: int) -> None:
    """Leave the layers after the deepest tap untrained: several workers wait for the gradient of everything trained."""
    training = network.training
    maps = network.eval().maps(torch.zeros(1, 3, side, side))
    network.train(training)
    parameters = list(network.backbone.parameters())
    total = torch.stack([tap.sum() for tap in maps]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
