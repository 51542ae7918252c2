"""How each trained hashing method uses the outputs of a batch, and where its database codes come from."""

from raysearch.models.hashing.exchnet import ExchNet
from raysearch.studies.configs import RetrievalConfig
from raysearch.tasks.base import Worker
from raysearch.tasks.retrieval.methods.asymmetric import Asymmetric
from raysearch.tasks.retrieval.methods.base import Method
from raysearch.tasks.retrieval.methods.exchange import Exchange
from raysearch.tasks.retrieval.methods.pairwise import Pairwise
from raysearch.tasks.retrieval.network import Network
from raysearch.tasks.retrieval.sampling import RunSampler

__all__ = ["Method", "build"]


def build(config: RetrievalConfig, draws: RunSampler, worker: Worker, network: Network) -> Method:
    """The method that `hash.method` names.

    Args:
        config: of the run.
        draws: of the run.
        worker: what it runs on.
        network: that is trained.
    """
    if isinstance(network, ExchNet):
        return Exchange(config, draws, worker, network)
    kind = Pairwise if config.hashing_method.kind == "pairwise" else Asymmetric
    return kind(config, draws, worker)
