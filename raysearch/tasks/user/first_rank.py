"""A user's code that one worker runs for all: its numbers, or its error, are those of every worker."""

import json
from collections.abc import Callable

from raysearch.core import UserError
from raysearch.tasks.base import Worker
from raysearch.tasks.user import rank_store
from raysearch.tasks.user.errors import UserCodeError


def compute_on_first(compute: Callable[[], dict[str, float]], worker: Worker) -> dict[str, float]:
    """Compute numbers on rank 0, and return them on every rank. All ranks must call it together.

    The other ranks wait at the store of the process group. A collective would give up after minutes, and a user's code
    may take longer.

    Args:
        compute: is called on rank 0 alone.
        worker: the worker of this rank.

    Raises:
        UserError: rank 0 raised one.
        UserCodeError: rank 0 raised another error. Rank 0 itself raises the original.
    """
    if worker.world_size == 1:
        return compute()
    store = rank_store.new_store(worker)
    if worker.rank > 0:
        rank_store.wait_for_key(store, "outcome")
        outcome = json.loads(store.get("outcome"))
        if outcome["error"] is not None:
            raise (UserError if outcome["is_user_error"] else UserCodeError)(outcome["error"])
        numbers: dict[str, float] = outcome["numbers"]
        return numbers
    try:
        numbers = compute()
    except Exception as error:
        is_user_error = isinstance(error, UserError)
        text = str(error) if is_user_error else f"{type(error).__name__}: {error}"
        store.set("outcome", json.dumps({"error": text, "is_user_error": is_user_error}))
        raise
    store.set("outcome", json.dumps({"error": None, "numbers": numbers}))
    return numbers
