"""Copies to a device: what arrives is what was sent, in one transfer; images of one set stay there as long as they fit.

The meta device stands in for a GPU: it has shapes and types, and no numbers. A CPU tensor under another name has both.
"""

import weakref

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.data.feed import DeviceImages, image_set, transfer

CPU = torch.device("cpu")
META = torch.device("meta")


class User:
    """A cell that uses images."""


USER = User()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Let the meta device hold numbers: `to` copies on the CPU, and lists every transfer."""
    sent: list[Tensor] = []
    original = Tensor.to

    def to(self: Tensor, *arguments: object, **options: object) -> Tensor:
        if arguments and arguments[0] == META:
            assert options.get("non_blocking"), "the host would wait"
            sent.append(self.clone())
            return self.clone()
        return original(self, *arguments, **options)

    monkeypatch.setattr(Tensor, "to", to)
    return sent


TENSORS = [
    torch.arange(7) - 3,
    torch.rand(3, 5),
    torch.tensor([True, False, True]),
    torch.zeros(4, 0),
    torch.rand(6, 4).T,  # not contiguous
    torch.tensor(3.5, dtype=torch.float64),
    torch.arange(5, dtype=torch.uint8),
    torch.empty(0, dtype=torch.int64),
]


def test_packed_tensors_arrive_as_they_were_in_one_transfer(elsewhere: list[Tensor]) -> None:
    copies = transfer.upload(TENSORS, META)
    assert len(elsewhere) == 1
    assert len(copies) == len(TENSORS)
    for copy, tensor in zip(copies, TENSORS, strict=True):
        assert copy.dtype == tensor.dtype
        assert torch.equal(copy, tensor)
    assert transfer.upload([], META) == ()


def test_on_a_cpu_nothing_is_copied() -> None:
    copies = transfer.upload(TENSORS, CPU)
    assert all(copy is tensor for copy, tensor in zip(copies, TENSORS, strict=True))


def test_on_a_device_shapes_and_types_are_kept() -> None:
    for copy, tensor in zip(transfer.upload(TENSORS, META), TENSORS, strict=True):
        assert (copy.device, copy.shape, copy.dtype) == (META, tensor.shape, tensor.dtype)


def pixels(count: int = 6, side: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


class Pieces:
    """Two arrays that are read like one."""

    def __init__(self, *pieces: np.ndarray) -> None:
        self.pieces = pieces
        self.shape = (sum(map(len, pieces)), *pieces[0].shape[1:])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate(self.pieces)[rows]

    def take(self, rows: np.ndarray, axis: int, out: np.ndarray, mode: str) -> np.ndarray:
        out[:] = self[rows]
        return out


@pytest.mark.parametrize("rows", [[5, 0, 0, 3], []])
def test_images_are_gathered_into_a_buffer(rows: list[int]) -> None:
    source = pixels()
    numbers = np.array(rows, dtype=np.int64)
    for some in (source, Pieces(source[:4], source[4:])):
        buffer = torch.zeros(len(rows), 4, 4, 3, dtype=torch.uint8)
        transfer.gather_images(some, numbers, buffer)
        assert np.array_equal(buffer.numpy(), source[numbers])


@pytest.mark.parametrize("row", [-1, 6])
def test_a_row_that_does_not_exist_is_refused(row: int) -> None:
    with pytest.raises(IndexError, match="of 6 images"):
        transfer.gather_images(pixels(), np.array([0, row]), torch.zeros(2, 4, 4, 3, dtype=torch.uint8))


def test_a_held_set_is_the_set_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysearch.data.feed.device_images._PIECE", 100)  # two images of 48 bytes at a time
    source = pixels(7)
    copy = DeviceImages().hold(source, CPU, None, USER)
    assert copy is not None
    assert np.array_equal(copy.numpy(), source)
    pieced = DeviceImages().hold(Pieces(source[:4], source[4:]), CPU, None, USER)
    assert pieced is not None
    assert np.array_equal(pieced.numpy(), source)


def test_the_next_cell_s_array_of_the_same_memory_is_not_copied_again() -> None:
    source = pixels()
    held = DeviceImages()
    first = held.hold(source[:], CPU, 10_000, USER)
    assert held.hold(source[:], CPU, 10_000, USER) is first
    assert held.find(source[:], USER) is first
    assert held.find(source[1:], USER) is None
    again = held.hold(source[1:], CPU, 10_000, USER)
    assert again is not None
    assert again is not first
    assert np.array_equal(again.numpy(), source[1:])
    pieces = Pieces(source[:4], source[4:])
    assert held.hold(pieces, CPU, 10_000, USER) is held.hold(Pieces(source[:4], source[4:]), CPU, 10_000, USER)


def test_an_address_is_not_given_to_other_images_while_it_is_an_identity() -> None:
    held = DeviceImages()
    source = pixels()
    alive = weakref.ref(source)
    held.hold(source, CPU, None, USER)
    del source
    assert alive() is not None
    held.drop()
    assert alive() is None
    assert held.nbytes == 0


def test_images_of_ended_cells_make_room_and_those_in_use_stay() -> None:
    small = [pixels(4, seed=seed) for seed in range(3)]
    size = small[0].nbytes
    held = DeviceImages()
    user = User()
    first = held.hold(small[0], CPU, 2 * size, user)
    other = User()
    assert held.hold(small[1], CPU, 2 * size, other) is not None
    assert held.hold(small[2], CPU, 2 * size, user) is None, "both others are in use"
    assert held.nbytes == 2 * size
    del other
    assert held.hold(small[2], CPU, 2 * size, user) is not None
    assert held.find(small[1], user) is None
    assert held.hold(small[0], CPU, 0, user) is first, "it is there, and used"
    assert held.hold(small[1], CPU, size - 1, user) is None
    assert held.nbytes == 2 * size


def test_memory_that_others_took_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. A stand-in.")

    monkeypatch.setattr("raysearch.data.feed.device_images._copy", fail)
    held = DeviceImages()
    assert held.hold(pixels(), CPU, None, USER) is None
    assert held.nbytes == 0


def test_on_a_device_images_are_copied_without_waiting() -> None:
    copy = DeviceImages().hold(pixels(), META, None, USER)
    assert copy is not None
    assert (copy.device, copy.shape, copy.dtype) == (META, (6, 4, 4, 3), torch.uint8)


def test_constants_of_views_are_made_once_per_device() -> None:
    taken = torch.zeros(2, 8, 8, 3, dtype=torch.uint8, device=META)
    image_set.normalize(taken)
    before = image_set._row.cache_info().misses
    image_set.normalize(taken)
    assert image_set._row.cache_info().misses == before
