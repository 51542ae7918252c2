"""Decide whether decoded images are kept in memory or decoded when they are needed, and state the reason."""

from dataclasses import dataclass
from enum import StrEnum

from raysearch.core import UserError

STORE_SHARE = 0.6  # of an object store, for decoded images


class FeedMode(StrEnum):
    """Resident: decoded once, into memory. Streamed: decoded when they are needed."""

    resident = "resident"
    streamed = "streamed"


@dataclass(frozen=True)
class FeedDecision:
    """How images are fed, and why."""

    mode: FeedMode
    bytes: int  # of the decoded images
    room: int  # bytes of memory that they may take
    why: str

    def plain(self) -> dict[str, str | int]:
        """Return the decision as a run's record keeps it."""
        return {"mode": self.mode, "bytes": self.bytes, "room": self.room, "why": self.why}

    def describe(self, images: int, side: int) -> str:
        """Return the decision as one line for people."""
        return f"{images:,} at {side} px, {format_gib(self.bytes)} decoded, {self.mode}: {self.why}"


def choose_feed_mode(
    requested: FeedMode | None,
    size: int,
    memory: int,
    share: float = STORE_SHARE,
    taken: int = 0,
    where: str = "the object store",
) -> FeedDecision:
    """Choose the mode for decoded images.

    Args:
        requested: by the user; None for resident if the images fit.
        size: bytes of the decoded images.
        memory: bytes of the memory that would hold them.
        share: the share of that memory, for decoded images.
        taken: bytes of that share that are taken already.
        where: name of that memory.

    Raises:
        UserError: resident was requested, and there is no room.
    """
    room = max(0, int(share * memory) - taken)
    limit = f"{share:.0%} of {where}" + (", less what other images take" if taken else "")
    if requested == FeedMode.resident and size > room:
        raise UserError(
            f"--feed resident: the decoded images take {format_gib(size)} and there is room for {format_gib(room)} "
            f"({limit}); leave --feed out, or set a smaller data.side"
        )
    if requested is not None:
        return FeedDecision(requested, size, room, "as asked")
    if size <= room:
        return FeedDecision(FeedMode.resident, size, room, f"they fit {format_gib(room)}, {limit}")
    return FeedDecision(FeedMode.streamed, size, room, f"more than {format_gib(room)}, {limit}")


def format_gib(size: int) -> str:
    """Format bytes as MiB or GiB.

    >>> format_gib(3 << 29)
    '1.5 GiB'
    """
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
