"""The store through which the ranks of one cell exchange texts while user code runs, which may take any time."""

import time

import torch
from torch.distributed import PrefixStore, Store, distributed_c10d

from raysearch.tasks.base import Worker

_PAUSES = (0.0005, 0.05)  # seconds between two looks: the first, and the longest


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


def wait_for_key(store: Store, key: str) -> None:
    """Wait until another rank has set a key, for as long as it takes. The engine ends ranks whose partner is lost.

    The store's own `wait` holds its lock, which NCCL's watchdog may need meanwhile.
    """
    pause = _PAUSES[0]
    while not store.check([key]):
        time.sleep(pause)
        pause = min(2 * pause, _PAUSES[1])
