"""The mailbox without Ray around it: its methods are coroutines."""

import asyncio
import random

import pytest

from raysearch.engine.trials.mailbox import Begin, Command, GroupLost, Mailbox, Reply, Step, Stop

# The class below Ray's decorator.
Plain = Mailbox.__ray_metadata__.modified_class  # type: ignore[attr-defined]


async def serve(mailbox, rank: int, seen: list[Command], rng: random.Random) -> None:
    """A slow rank: it takes commands until `Stop`."""
    number = 0
    reply = None
    while True:
        number += 1
        command = await mailbox.exchange(rank, number, reply)
        seen.append(command)
        if isinstance(command, Stop):
            return
        await asyncio.sleep(rng.random() * 0.003)
        reply = Reply({"rank": rank, "number": number})


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_rank_gets_every_command_in_order(workers: int) -> None:
    async def scene() -> list[list[Command]]:
        mailbox = Plain(workers)
        rng = random.Random(workers)
        seen: list[list[Command]] = [[] for _ in range(workers)]
        ranks = [asyncio.create_task(serve(mailbox, rank, seen[rank], rng)) for rank in range(workers)]
        for number in range(1, 41):
            reply = await mailbox.ask(sent[number - 1])
            assert reply.report == {"rank": 0, "number": number}
            assert all(len(commands) == number for commands in seen), (
                "the next command came before all had executed this one"
            )
        asking = asyncio.create_task(mailbox.ask(Stop()))
        await asyncio.gather(*ranks)
        asking.cancel()
        return seen

    sent: list[Command] = [Begin(f"cell {n}", {"n": n}, seed=n) if n % 5 == 0 else Step() for n in range(40)]
    assert all(commands == [*sent, Stop()] for commands in asyncio.run(scene()))


def test_whoever_waits_hears_of_a_lost_group() -> None:
    async def scene() -> None:
        mailbox = Plain(2)
        asking = asyncio.create_task(mailbox.ask(Step()))
        await asyncio.sleep(0.01)
        await mailbox.exchange(0, 1, None)
        await mailbox.lose("a worker died")
        with pytest.raises(GroupLost, match="a worker died"):
            await asking
        with pytest.raises(GroupLost):
            await mailbox.ask(Step())

    asyncio.run(scene())
