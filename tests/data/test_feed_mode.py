"""Which mode is taken for images of a size, and what the user is told."""

import pytest

from raysearch.core import UserError
from raysearch.data.feed_mode import FeedMode, choose_feed_mode

GIB = 2**30


@pytest.mark.parametrize(
    ("asked", "size", "share", "taken", "mode"),
    [
        (None, 6 * GIB, 0.6, 0, FeedMode.resident),
        (None, 6 * GIB + 1, 0.6, 0, FeedMode.streamed),
        (None, 6 * GIB, 0.5, 0, FeedMode.streamed),
        (None, 4 * GIB, 0.6, 2 * GIB, FeedMode.resident),
        (None, 4 * GIB, 0.6, 2 * GIB + 1, FeedMode.streamed),
        (FeedMode.streamed, 1, 0.6, 0, FeedMode.streamed),
        (FeedMode.resident, 6 * GIB, 0.6, 0, FeedMode.resident),
    ],
)
def test_mode(asked: FeedMode | None, size: int, share: float, taken: int, mode: FeedMode) -> None:
    choice = choose_feed_mode(asked, size, 10 * GIB, share, taken)
    assert choice.mode is mode
    assert choice.bytes == size
    assert choice.room == share * 10 * GIB - taken


def test_what_is_said() -> None:
    assert choose_feed_mode(None, 3 * GIB // 2, 10 * GIB).describe(5000, 96) == (
        "5,000 at 96 px, 1.5 GiB decoded, resident: they fit 6.0 GiB, 60% of the object store"
    )
    assert "streamed: more than 1.0 GiB, 60% of the object store, less what other images take" in choose_feed_mode(
        None, 2 * GIB, 10 * GIB, taken=5 * GIB
    ).describe(5000, 96)
    assert "as asked" in choose_feed_mode(FeedMode.streamed, 1, 10 * GIB).describe(1, 96)
    with pytest.raises(UserError, match=r"take 7\.0 GiB.*room for 6\.0 GiB.*data\.side") as caught:
        choose_feed_mode(FeedMode.resident, 7 * GIB, 10 * GIB)
    assert "\n" not in str(caught.value)
