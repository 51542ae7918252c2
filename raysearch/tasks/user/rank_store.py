"""The store through which the ranks of one cell exchange texts while user code runs, which may take any time."""

import torch
from torch.distributed import PrefixStore, distributed_c10d

from raysearch.tasks.base import Worker


def new_store(worker: Worker) -> PrefixStore:
    """Return a part of the store by which the process group met; its keys are new. All ranks must call it together.

    Args:
        worker: the worker of this rank, one of several.
    """
    store = distributed_c10d._get_default_store()
    number = torch.zeros(1, dtype=torch.int64, device=worker.device)
    if worker.rank == 0:
        number += store.add("raysearch/stores", 1)
    worker.broadcast(number)
    return PrefixStore(f"raysearch/store-{int(number)}", store)
