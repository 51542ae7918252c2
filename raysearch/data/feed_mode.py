"""Whether decoded images are kept in memory or made when they are needed, and the reason, for people."""

from dataclasses import dataclass
from enum import StrEnum

from raysearch.core.errors import UserError

STORE_SHARE = 0.6  # of an object store that decoded images may take


class FeedMode(StrEnum):
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
        """As a run's record keeps it."""
        return {"mode": self.mode, "bytes": self.bytes, "room": self.room, "why": self.why}

    def describe(self, images: int, side: int) -> str:
        """A line for people."""
        return f"{images:,} at {side} px, {format_gib(self.bytes)} decoded, {self.mode}: {self.why}"


def choose_feed_mode(
    asked: FeedMode | None,
    size: int,
    memory: int,
    share: float = STORE_SHARE,
    taken: int = 0,
    where: str = "the object store",
) -> FeedDecision:
    """The mode for decoded images of `size` bytes.

    Args:
        asked: by the user; None: whatever fits.
        size: bytes.
        memory: bytes of the memory that would hold them.
        share: of it that decoded images may take.
        taken: bytes of that share that are taken already.
        where: that memory's name.

    Raises:
        UserError: resident was asked for, and there is no room.
    """
    room = max(0, int(share * memory) - taken)
    of = f"{share:.0%} of {where}" + (", less what other images take" if taken else "")
    if asked == FeedMode.resident and size > room:
        raise UserError(
            f"--feed resident: the decoded images take {format_gib(size)} and there is room for {format_gib(room)} "
            f"({of}); leave --feed out, or set a smaller data.side"
        )
    if asked is not None:
        return FeedDecision(asked, size, room, "as asked")
    if size <= room:
        return FeedDecision(FeedMode.resident, size, room, f"they fit {format_gib(room)}, {of}")
    return FeedDecision(FeedMode.streamed, size, room, f"more than {format_gib(room)}, {of}")


def format_gib(size: int) -> str:
    """
    >>> format_gib(3 << 29)
    '1.5 GiB'
    """
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
