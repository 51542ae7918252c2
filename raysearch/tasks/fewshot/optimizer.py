"""Optimisers of episodic training: HelixFormer's Adam (arXiv 2207.00784), LWFM-SPM's SGD (arXiv 2411.06363)."""

from torch import nn
from torch.optim import SGD, Adam, Optimizer

from raysearch.studies.configs.fewshot_sections import EpisodicTrainConfig


def build_optimizer(network: nn.Module, config: EpisodicTrainConfig) -> Optimizer | None:
    """The optimiser of what learns in a network; None where nothing does."""
    learned = [one for one in network.parameters() if one.requires_grad]
    if not learned or not config.epochs:
        return None
    if config.optimiser == "adam":
        return Adam(learned, lr=config.lr, weight_decay=config.weight_decay)
    nesterov = config.momentum > 0
    return SGD(learned, config.lr, config.momentum, weight_decay=config.weight_decay, nesterov=nesterov)


def set_rate(optimiser: Optimizer, config: EpisodicTrainConfig, epoch: int) -> float:
    """Set the rate of an epoch, counted from 0; returns it."""
    # Rounded, since 0.55 * 100 is a little more than 55.
    falls = sum(epoch >= round(share * config.epochs, 6) for share in config.milestones)
    rate = config.lr * config.decay**falls
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate
