"""Several workers that run one user's function: rank 0's reports count, and a rank that goes another way is an error.

A rank that returns early, or raises, would leave the others in a collective for ever. So each rank publishes its events
in the store by which the process group met, and looks there while its function runs.
"""

import json
import time
from typing import Any

from raysearch.core import UserError
from raysearch.tasks.base import Worker
from raysearch.tasks.user import plain_numbers, rank_store
from raysearch.tasks.user.held_thread import Raised, Reported, Returned, Started

PATIENCE_SECONDS = 60.0  # after a rank returned before its last step, until the others have to do so too


class Ranks:
    """The ranks of one cell. All build it together, and call `agree` for each event of their functions.

    Args:
        worker: the worker of this rank.
        reference: the name of the function, for messages.
    """

    def __init__(self, worker: Worker, reference: str) -> None:
        self._store = rank_store.new_store(worker)
        self._rank = worker.rank
        self._others = [rank for rank in range(worker.world_size) if rank != worker.rank]
        self._reference = reference
        self._index = 0  # of the event that comes next
        self._seen_early: float | None = None

    def agree(self, event: Started | Reported | Returned | Raised, done: int, steps: int) -> Any:
        """Wait for the event of every rank, and return this one's with the numbers of rank 0.

        Args:
            event: of the function on this rank.
            done: steps before it.
            steps: of the whole run.

        Raises:
            UserError: another rank raised, or went another way.
        """
        if isinstance(event, Raised):
            self._publish({"kind": "raised", "text": f"{type(event.error).__name__}: {event.error}"})
            return event
        try:
            mine = self._describe(event, done, steps)
        except UserError as error:
            self._publish({"kind": "raised", "text": str(error)})
            raise
        self._publish(mine)
        for rank in self._others:
            rank_store.wait_for_key(self._store, f"{self._index}/{rank}")
        messages = {rank: self._read(rank) for rank in self._others} | {self._rank: mine}
        for rank in sorted(messages):
            self._check(rank, messages[rank], mine)
        self._store.delete_key(f"{self._index - 1}/{self._rank}")  # all have read it
        self._index += 1
        self._seen_early = None
        if isinstance(event, Reported):
            return Reported(messages[0]["numbers"], event.state)
        return Returned(messages[0]["numbers"]) if isinstance(event, Returned) else event

    def look(self) -> None:
        """Look at the other ranks while the function runs on this one.

        Raises:
            UserError: another rank raised, or returned before its last step a while ago.
        """
        for rank in self._others:
            if not self._store.check([f"{self._index}/{rank}"]):
                continue
            message = self._read(rank)
            if message["kind"] in ("raised", "differs"):
                self._check(rank, message, message)
            if message["kind"] == "returned" and message["done"] < message["steps"]:
                self._seen_early = self._seen_early or time.monotonic()
                if time.monotonic() - self._seen_early > PATIENCE_SECONDS:
                    running = {"kind": "running", "text": f"still runs after {PATIENCE_SECONDS:g} s"}
                    self._check(rank, message, running)

    def _describe(self, event: Started | Reported | Returned, done: int, steps: int) -> dict[str, Any]:
        if isinstance(event, Started):
            return {"kind": "started", "steps": event.steps, "text": f"has {event.steps} steps"}
        if isinstance(event, Reported):
            text = f"reported step {done + 1}"
            return {"kind": "reported", "numbers": event.report, "text": text}
        numbers = {}
        if self._rank == 0 and event.value is not None:
            numbers = plain_numbers(event.value, self._reference)
        text = f"returned after {done} of {steps} steps"
        return {"kind": "returned", "numbers": numbers, "done": done, "steps": steps, "text": text}

    def _check(self, rank: int, message: dict[str, Any], mine: dict[str, Any]) -> None:
        """Raise a UserError if a rank went another way than this one."""
        if message["kind"] == "differs":  # another rank has noticed it before
            raise UserError(message["text"])
        if message["kind"] == "raised":
            text = f"rank {rank}: {message['text']}"
            self._publish({"kind": "raised", "text": text})
            raise UserError(text)
        if message["kind"] != mine["kind"] or message.get("steps") != mine.get("steps"):
            first, second = sorted([(rank, message["text"]), (self._rank, mine["text"])])
            text = (
                f"{self._reference}: rank {first[0]} {first[1]}, and rank {second[0]} {second[1]}; "
                "all workers run the same steps"
            )
            self._publish({"kind": "differs", "text": text})
            raise UserError(text)

    def _publish(self, message: dict[str, Any]) -> None:
        self._store.set(f"{self._index}/{self._rank}", json.dumps(message))

    def _read(self, rank: int) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._store.get(f"{self._index}/{rank}"))
        return message
