"""Which states of a finished cell stay on disk, and their sizes. Nothing here imports torch."""

import enum
from collections.abc import Mapping

from raysearch.storage import Location

FOLDER = "checkpoints"  # of a run that has no other storage
NEWEST = "newest.pt"
BEST = "best.pt"


class Keep(enum.StrEnum):
    """The checkpoints of finished cells that stay."""

    BEST = "best"  # of the cells that gallery and export choose
    LAST = "last"  # the last one of every cell
    NONE = "none"


def state_sizes(folder: Location) -> dict[str, int]:
    """Return the sizes in bytes of the states in a cell's folder. Two names of one file count once.

    Raises:
        Unreachable: the store fails.
    """
    if folder.local is not None and folder.local.is_symlink():
        return {}
    try:
        listing = folder.listing()
    except FileNotFoundError:
        return {}
    states = {name: size for name, size in listing.items() if name.endswith(".pt") and not name.startswith(".")}
    has_both = folder.local is not None and {BEST, NEWEST} <= states.keys()
    if has_both and folder.local is not None and (folder.local / BEST).samefile(folder.local / NEWEST):
        states[BEST] = 0
    return states


def last_state(sizes: Mapping[str, int]) -> str | None:
    """Return the name of the state that a finished cell is read from: the last one, or else its best; None for none.

    >>> last_state({"best.pt": 5, "newest.pt": 7}), last_state({"best.pt": 5}), last_state({})
    ('newest.pt', 'best.pt', None)
    """
    return next((name for name in (NEWEST, BEST) if name in sizes), None)
