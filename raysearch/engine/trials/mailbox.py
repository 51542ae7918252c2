"""The actor through which a trial commands its workers, and the commands and replies."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import ray

from raysearch.engine.trials.jobs import Objective


@dataclass(frozen=True)
class Begin:
    """Drop the current task and build the next one; continue from its checkpoint if there is one."""

    cell: str
    config: dict[str, Any]
    seed: int
    storage: str | None = None  # path or URI of checkpoints; None keeps none
    objective: Objective | None = None  # chooses the best checkpoint
    settings: dict[str, Any] = field(default_factory=dict)  # dotted path -> value, as a population has moved the config
    take_over: tuple[str, str] | None = None  # cell and name of a pinned state to start from instead
    start: str | None = None  # cell of the pre-training whose backbone it starts from
    data_set: str | None = None  # name of its data set, in a study on several


@dataclass(frozen=True)
class Step:
    """Advance the task once; after the last step, evaluate it too."""


@dataclass(frozen=True)
class Flush:
    """Wait until the checkpoint of the last step is written."""


@dataclass(frozen=True)
class Stop:
    """Leave the train loop."""


Command = Begin | Step | Flush | Stop


@dataclass(frozen=True)
class Reply:
    """A rank's answer to a command."""

    report: dict[str, Any]
    seconds: float = 0.0  # time that the command took on the worker
    metrics: dict[str, Any] | None = None  # after the last step
    metric_ids: dict[str, str] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)  # earlier reports of a cell that continues
    spent: float = 0.0  # seconds that those reports took
    settings: dict[str, Any] = field(default_factory=dict)  # as a population had moved the config by then
    error: str | None = None  # the task cannot continue; the worker can
    device: str | None = None  # name of the GPU that the cell was computed on, or "cpu"; of several, all


class GroupLost(RuntimeError):
    """The worker group ended before it answered."""


class GroupNotStarted(GroupLost):
    """The worker group ended before all of its workers were ready, so no cell has anything to do with it."""


_AGREE_SECONDS = 30.0  # ranks fail within milliseconds if they fail together


@ray.remote(num_cpus=0, max_concurrency=256)
class Mailbox:
    """Takes one command at a time to all ranks; when all have executed it, the reply of rank 0 goes back.

    A rank asks for command number `n` and waits until it is there. The next command is taken when every rank has
    replied. So no rank misses a command, no rank runs ahead, and nothing is polled.

    Args:
        workers: number of ranks.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._number = 0
        self._command: Command | None = None
        self._replies: dict[int, Reply] = {}
        self._errors: dict[int, str] = {}  # of the current command
        self._disagree = False
        self._present: set[int] = set()
        self._lost: str | None = None
        self._changed = asyncio.Condition()

    async def ready(self) -> None:
        """Wait until every rank is there.

        Raises:
            GroupNotStarted: the worker group ended before.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._present) == self._workers or self._lost is not None)
            if self._lost is not None:
                raise GroupNotStarted(self._lost)

    async def ask(self, command: Command) -> Reply:
        """Hand a command to the workers, wait until all have executed it, and return the reply of rank 0.

        Raises:
            GroupLost: the worker group ended before.
        """
        async with self._changed:
            self._number += 1
            self._command = command
            self._replies = {}
            self._errors = {}
            self._disagree = False
            self._changed.notify_all()
            await self._changed.wait_for(lambda: len(self._replies) == self._workers or self._lost is not None)
            if len(self._replies) < self._workers:
                raise GroupLost(self._lost)
            return self._replies[0]

    async def exchange(self, rank: int, number: int, reply: Reply | None) -> Command:
        """Leave the reply to command `number - 1`, wait for command `number`, and return it.

        Args:
            rank: the rank of the calling worker.
            number: the number of the command, from 1.
            reply: None before the first command.
        """
        async with self._changed:
            self._present.add(rank)
            if reply is not None:
                self._replies[rank] = reply
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._number >= number)
            assert self._command is not None
            return self._command

    async def agree(self, rank: int, kind: str, seconds: float = _AGREE_SECONDS) -> bool:
        """Return whether every rank has met the same error at the current command; all ranks get the same answer.

        Args:
            rank: the rank of the calling worker.
            kind: what the errors of all ranks must have in common.
            seconds: how long the other ranks are waited for.
        """
        async with self._changed:
            self._errors[rank] = kind
            self._disagree = self._disagree or len(set(self._errors.values())) > 1
            self._changed.notify_all()
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait_for(
                        lambda: self._disagree or bool(self._replies) or len(self._errors) == self._workers
                    )
            except TimeoutError:
                pass
            self._disagree = self._disagree or len(self._errors) < self._workers
            self._changed.notify_all()
            return not self._disagree

    async def lose(self, reason: str) -> None:
        """Wake whoever waits, since the worker group has ended."""
        async with self._changed:
            self._lost = reason
            self._changed.notify_all()
