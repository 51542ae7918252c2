"""How each trained hashing method uses the outputs of a batch, and where its database codes come from."""

import torch

from raysearch.studies.config import RetrievalConfig
from raysearch.studies.hashing_config import PAIRWISE
from raysearch.tasks.draws import Draws
from raysearch.tasks.methods.asymmetric import Asymmetric
from raysearch.tasks.methods.base import Method
from raysearch.tasks.methods.pairwise import Pairwise

__all__ = ["Method", "build"]


def build(config: RetrievalConfig, draws: Draws, device: torch.device) -> Method:
    """The method that `hash.method` names.

    Args:
        config: of the run.
        draws: of the run.
        device: that the outputs come from.
    """
    if config.hash.method in PAIRWISE:
        return Pairwise(config, draws, device)
    return Asymmetric(config, draws, device)
