"""The network of a few-shot run: backbone, compared taps, head, and a classifier for the auxiliary losses."""

from collections.abc import Mapping

import torch
from torch import Tensor

from raysearch.models import backbones
from raysearch.models.fewshot import EpisodicNetwork
from raysearch.studies.configs import FewshotConfig
from raysearch.studies.configs.task_spec import load_object


def build_network(
    config: FewshotConfig, seed: int, classes: int, start: Mapping[str, Tensor] | None = None
) -> EpisodicNetwork:
    """Build the network of a config, with parameters drawn from the seed.

    Args:
        config: of the run.
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
