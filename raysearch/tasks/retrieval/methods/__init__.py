"""Trained hashing methods: how each uses the outputs of a batch, and where its database codes come from.

`hash.method` names one of `raysearch.studies.configs.hashing_methods`, which knows where the code of each is.
"""

from raysearch.studies.configs import RetrievalConfig
from raysearch.studies.configs.task_spec import load_object
from raysearch.tasks.base import Worker
from raysearch.tasks.retrieval.methods.base import Method
from raysearch.tasks.retrieval.network import Network
from raysearch.tasks.retrieval.sampling import RunSampler

__all__ = ["Method", "build_method"]


def build_method(config: RetrievalConfig, sampler: RunSampler, worker: Worker, network: Network) -> Method:
    """Return the trained method that `hash.method` names.

    Args:
        config: the config of the run.
        sampler: the sampler of the run.
        worker: the worker that the run is trained on.
        network: the network that is trained.
    """
    implementation = config.hashing_method.implementation
    assert implementation is not None, "a fitted method is another task"
    method: Method = load_object(implementation)(config, sampler, worker, network)
    return method
