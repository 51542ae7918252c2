"""The network of a retrieval run: FCAENet's, which all trained methods share but ExchNet, which has one of its own."""

import torch

from raysearch.models import backbones
from raysearch.models.fcaenet import FCAENet
from raysearch.models.hashing.exchnet import ExchNet
from raysearch.studies.configs import RetrievalConfig

Network = FCAENet | ExchNet


def build_network(config: RetrievalConfig, seed: int, classes: int) -> Network:
    """Make the network; what is random of it follows from the seed.

    Args:
        config: of the run.
        seed: of weights that are not given.
        classes: K, labels from 0 to K - 1.

    Raises:
        UserError: weights that do not fit.
    """
    bits, standardise = config.hash.bits, config.model.standardise
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = backbones.build(config.model.backbone, config.model.weights)
        if config.hash.method == "exchnet":
            parts, probability = config.exchnet.parts, config.exchnet.exchange
            return ExchNet(backbone, bits, parts, standardise, classes=classes, probability=probability)
        return FCAENet(backbone, bits, standardise)
