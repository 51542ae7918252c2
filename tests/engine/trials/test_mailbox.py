"""The mailbox without Ray around it: its methods are coroutines."""

import asyncio
import random

import pytest

from raysearch.engine.trials.mailbox import Begin, Command, GroupLost, GroupNotStarted, Mailbox, Reply, Step, Stop

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


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["nan after 7", "nan after 7", "nan after 7"], True),
        (["nan after 7", "nan after 7", "nan after 8"], False),
        (["nan after 7", "nan after 7", None], False),
    ],
    ids=["all alike", "one after another collective", "one waits for the others"],
)
def test_ranks_agree_that_they_have_met_the_same_error(kinds: list[str | None], expected: bool) -> None:
    async def scene() -> list[bool]:
        mailbox = Plain(len(kinds))
        asking = asyncio.create_task(mailbox.ask(Step()))
        await asyncio.sleep(0.01)
        voices = [mailbox.agree(rank, kind, seconds=0.2) for rank, kind in enumerate(kinds) if kind is not None]
        answers = await asyncio.gather(*voices)
        asking.cancel()
        return answers

    assert set(asyncio.run(scene())) == {expected}


def test_a_rank_that_fails_while_another_succeeds_is_answered_at_once() -> None:
    async def scene() -> bool:
        mailbox = Plain(2)
        asking = asyncio.create_task(mailbox.ask(Step()))
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(mailbox.exchange(0, 2, Reply({})))
        answer = await asyncio.wait_for(mailbox.agree(1, "nan", seconds=60), timeout=5)
        asking.cancel()
        waiting.cancel()
        return answer

    assert not asyncio.run(scene())


def test_an_answer_is_about_one_command() -> None:
    async def scene() -> list[bool]:
        mailbox = Plain(2)
        answers = []
        for kinds in (["a", "b"], ["a", "a"]):
            asking = asyncio.create_task(mailbox.ask(Step()))
            await asyncio.sleep(0.01)
            answers += await asyncio.gather(*(mailbox.agree(rank, kind) for rank, kind in enumerate(kinds)))
            asking.cancel()
        return answers

    assert asyncio.run(scene()) == [False, False, True, True]


def test_a_group_that_is_lost_before_all_are_there_has_not_started() -> None:
    async def scene() -> None:
        mailbox = Plain(2)
        await mailbox.lose("the driver is too old")
        with pytest.raises(GroupNotStarted, match="the driver is too old"):
            await mailbox.ready()

    asyncio.run(scene())
