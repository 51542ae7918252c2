"""The seeds that a command or a program asks for: a number of them, or more where the comparison is undecided."""

from collections.abc import Sequence
from dataclasses import replace

from raysearch.core import Problems, UserError, nearest
from raysearch.studies.design.adaptive_seeds import Adaptive

ADAPTIVE = "adaptive"

Seeds = int | Adaptive  # a number of seeds per variant, or looks at which only undecided variants get more


def read_seed_request(
    seeds: int | str | Adaptive | None,
    looks: str | Sequence[int] | None = None,
    margin: float | None = None,
    declared: object = None,
) -> Seeds | None:
    """Return the seeds that are asked for; None where the study's own stand.

    Args:
        seeds: a number, "adaptive" for the study's own looks or the usual ones, or an `Adaptive`.
        looks: numbers of seeds at which the study is judged, such as "3,5,8"; implies "adaptive".
        margin: a difference that does not matter; implies "adaptive".
        declared: the seeds of the study, whose looks and margin stand where none are given.

    Raises:
        UserError: seeds that are neither a number nor "adaptive"; a number beside looks or a margin; or wrong looks or
            a wrong margin. All mistakes are reported together.

    >>> read_seed_request("5"), read_seed_request("adaptive").looks, read_seed_request(None, "3,5,8", 0.01)
    (5, (3, 5, 8, 12, 20), Adaptive(looks=(3, 5, 8), margin=0.01))
    """
    problems = Problems()
    number = None
    with problems.caught():
        number = _read_number(seeds)
    options = [name for name, value in (("--looks", looks), ("--margin", margin)) if value is not None]
    if number is not None and options:
        problems.add(f"--seeds {number} is a fixed number, and {options[0]} is for adaptive seeds; give one of them")
    plan = declared if isinstance(declared, Adaptive) else Adaptive()
    if isinstance(seeds, Adaptive):
        plan = seeds
    if looks is not None:
        with problems.caught():
            plan = replace(plan, looks=_read_looks(looks))
    if margin is not None:
        with problems.caught():
            plan = replace(plan, margin=margin)
    problems.raise_all()
    if seeds is None and not options:
        return None
    return plan if number is None else number


def _read_number(seeds: int | str | Adaptive | None) -> int | None:
    if isinstance(seeds, int):
        return seeds
    if seeds is None or isinstance(seeds, Adaptive) or seeds.strip() == ADAPTIVE:
        return None
    try:
        return int(seeds)
    except ValueError:
        raise UserError(
            f"--seeds {seeds}: give a number of seeds, or `{ADAPTIVE}`{nearest(seeds, [ADAPTIVE])}"
        ) from None


def _read_looks(looks: str | Sequence[int]) -> list[int]:
    if not isinstance(looks, str):
        return list(looks)
    try:
        return [int(word) for word in looks.split(",")]
    except ValueError:
        raise UserError(f"--looks {looks}: give numbers of seeds with commas between them, such as 3,5,8") from None
