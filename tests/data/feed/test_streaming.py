"""A stream read like an array: the same bytes as decoding everything, whatever was announced, taken or broken."""

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from raysearch.core import UserError
from raysearch.data import feed, shards, synthetic
from raysearch.data.feed import DecodeSpec, ImageSet, ImageStream, ThreadDecoder, decoding
from raysearch.data.shards import ShardReader

SPEC = synthetic.SyntheticSpec(classes=5, train_per_class=8, test_per_class=4, side=24)
VIEW = DecodeSpec(20)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    directory = synthetic.ensure_shards(SPEC, tmp_path_factory.mktemp("drawn"), rows_per_shard=7)
    return ShardReader(directory, shards.read_manifest(directory))


@pytest.fixture(scope="module")
def everything(shelf: ShardReader) -> np.ndarray:
    return decoding.decode_rows(shelf, VIEW, np.arange(len(shelf)))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "CHUNK_ROWS", 6)
    monkeypatch.setattr("raysearch.data.feed.streaming._MIN_PIPELINE_CHUNKS", 1)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = threading.active_count()
    yield
    end = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.02)
    assert threading.active_count() == before


class Watched:
    """A pipeline that remembers what it was asked for."""

    def __init__(self, shelf: ShardReader) -> None:
        self._through, self.begun = ThreadDecoder(shelf, VIEW), []

    def __call__(self, chunks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        self.begun.append(np.concatenate(chunks).tolist())
        yield from self._through(chunks)


def take_all(stream: ImageStream, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """In batches of random sizes."""
    parts, done = [], 0
    while done < len(rows):
        size = int(rng.integers(1, 11))
        parts.append(stream[rows[done : done + size]])
        done += size
    return np.concatenate(parts)


@pytest.mark.parametrize("seed", range(5))
def test_passes_one_after_the_other(shelf: ShardReader, everything: np.ndarray, seed: int) -> None:
    rng, stream = np.random.default_rng(seed), ImageStream(shelf, VIEW)
    passes = [rng.integers(0, len(shelf), int(rng.integers(15, 60))) for _ in range(4)]
    stream.prefetch(passes[0])
    for number, rows in enumerate(passes):
        if number + 1 < len(passes):
            stream.prefetch(passes[number + 1])
        assert np.array_equal(take_all(stream, rows, rng), everything[rows])
    assert stream.unannounced == 0


def test_a_short_pass_is_decoded_here(
    shelf: ShardReader, everything: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.data.feed.streaming._MIN_PIPELINE_CHUNKS", 4)
    watched = Watched(shelf)
    stream, rng = ImageStream(shelf, VIEW, watched), np.random.default_rng(0)
    for count, begun in ((3, 0), (18, 0), (19, 1)):
        rows = rng.permutation(60)[:count]
        stream.prefetch(rows)
        assert np.array_equal(take_all(stream, rows, rng), everything[rows])
        assert len(watched.begun) == begun
    assert stream.unannounced == 0


def test_two_passes_taken_by_turns(shelf: ShardReader, everything: np.ndarray) -> None:
    rng, stream = np.random.default_rng(0), ImageStream(shelf, VIEW)
    one, other = rng.permutation(60)[:30], rng.permutation(60)[:24]
    stream.prefetch(one)
    stream.prefetch(other)
    for rows, others in zip(one.reshape(6, 5), other.reshape(6, 4), strict=True):
        assert np.array_equal(stream[rows], everything[rows])
        assert np.array_equal(stream[others], everything[others])
    assert stream.unannounced == 0


def test_what_was_not_announced_is_right_too(shelf: ShardReader, everything: np.ndarray) -> None:
    stream, rows = ImageStream(shelf, VIEW), np.arange(40)
    stream.prefetch(rows)
    assert np.array_equal(stream[rows[:10]], everything[:10])
    assert np.array_equal(stream[np.array([59, 0, 0, 7])], everything[[59, 0, 0, 7]])
    assert np.array_equal(stream[rows[10:]], everything[10:40])
    assert np.array_equal(stream[rows[:13]], everything[:13])
    assert stream.unannounced == 4 + 13
    assert stream[np.array([], dtype=np.int64)].shape == (0, 20, 20, 3)


def test_the_next_pass_begins_when_a_quarter_of_this_one_was_taken(shelf: ShardReader) -> None:
    watched = Watched(shelf)
    stream, first, second = ImageStream(shelf, VIEW, watched), np.arange(40), np.arange(59, 19, -1)
    stream.prefetch(first)
    stream.prefetch(second)
    stream[first[:9]]
    time.sleep(0.2)
    assert watched.begun == [first.tolist()]
    stream[first[9:10]]
    _until(lambda: watched.begun == [first.tolist(), second.tolist()])
    stream.close()


def test_a_pipeline_waits_for_whoever_takes(shelf: ShardReader) -> None:
    made = []

    def slowly_taken(chunks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        for number, images in enumerate(ThreadDecoder(shelf, VIEW)(chunks)):
            made.append(number)
            yield images

    stream, rows = ImageStream(shelf, VIEW, slowly_taken), np.arange(60)
    stream.prefetch(rows)
    time.sleep(0.3)
    assert len(made) <= 4  # of ten
    take_all(stream, rows, np.random.default_rng(0))
    assert len(made) == 10


@pytest.mark.parametrize("after", [0, 3])
def test_a_pipeline_that_breaks_goes_on_where_it_was(shelf: ShardReader, everything: np.ndarray, after: int) -> None:
    begun: list[int] = []

    def fragile(chunks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        begun.append(len(chunks))
        for number, images in enumerate(ThreadDecoder(shelf, VIEW)(chunks)):
            if number == after and len(begun) < 4:
                raise ConnectionError("its node is gone")
            yield images

    stream, rows = ImageStream(shelf, VIEW, fragile), np.random.default_rng(1).permutation(60)
    stream.prefetch(rows)
    assert np.array_equal(take_all(stream, rows, np.random.default_rng(2)), everything[rows])
    assert begun == ([10, 10, 10, 10] if after == 0 else [10, 7, 4, 1])
    assert stream.unannounced == 0


def test_a_pipeline_that_never_works_says_why(shelf: ShardReader) -> None:
    begun = []

    def broken(chunks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        begun.append(1)
        raise error
        yield

    error: Exception = ConnectionError("no node")
    stream = ImageStream(shelf, VIEW, broken)
    stream.prefetch(np.arange(30))
    with pytest.raises(ConnectionError, match="no node"):
        stream[np.arange(5)]
    assert len(begun) == 4
    error = UserError("shard 7 is missing")
    stream = ImageStream(shelf, VIEW, broken)
    stream.prefetch(np.arange(30))
    with pytest.raises(UserError, match="shard 7"):
        stream[np.arange(5)]
    assert len(begun) == 5  # what the user has to mend is not tried again


def test_passes_that_nobody_takes_are_forgotten(shelf: ShardReader, everything: np.ndarray) -> None:
    stream = ImageStream(shelf, VIEW)
    for start in range(30):
        stream.prefetch(np.arange(start, start + 20))
    assert np.array_equal(stream[np.arange(29, 49)], everything[29:49])
    assert stream.unannounced == 0
    assert np.array_equal(stream[np.arange(0, 20)], everything[:20])
    assert stream.unannounced == 20
    stream.close()
    assert np.array_equal(stream[np.arange(25, 45)], everything[25:45])


def test_sets_of_a_stream_and_of_an_array_are_the_same(shelf: ShardReader, everything: np.ndarray) -> None:
    labels = np.arange(60) % 7
    rows = np.random.default_rng(3).permutation(60)[:50]
    keep = np.arange(50) % 3 > 0
    for pixels in (everything, ImageStream(shelf, VIEW)):
        part = ImageSet(pixels, labels[rows], rows).subset(keep)
        assert part.side == 20
        assert len(part) == keep.sum()
        assert part.labels.tolist() == labels[rows][keep].tolist()
        asked = torch.arange(len(part)).flip(0)
        part.prefetch(asked)
        taken = part.take(asked, torch.device("cpu"))
        assert np.array_equal(taken.numpy(), everything[rows[keep]][::-1])
        part.close()


def test_collecting_is_decoding_everything(shelf: ShardReader, everything: np.ndarray) -> None:
    numbers = np.array([3, 4, 9, 20, 21, 22, 23, 24, 58])
    for threads in (1, 3):
        assert np.array_equal(feed.decode_all(ThreadDecoder(shelf, VIEW, threads), numbers, VIEW), everything[numbers])


def _until(true: object) -> None:
    end = time.monotonic() + 5
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_stream_that_is_closed_while_another_thread_takes_does_not_keep_it(shelf: ShardReader) -> None:
    class Stuck:
        """A pipeline that decodes nothing until it is let go."""

        def __init__(self) -> None:
            self.go = threading.Event()

        def __call__(self, chunks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
            self.go.wait(20)
            yield from ()

    decoder = Stuck()
    stream = ImageStream(shelf, VIEW, decoder)
    rows = np.arange(12)
    stream.prefetch(rows)
    errors: list[Exception] = []

    def take() -> None:
        try:
            stream[rows[:3]]
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    time.sleep(0.1)
    stream.close()
    thread.join(5)
    decoder.go.set()
    assert not thread.is_alive()
    assert "closed" in str(errors[0])
