"""Maps of a frozen backbone: computed once by a cell and once by all cells, and never under another's name."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raysearch.core import WriteError, atomic
from raysearch.data.feed import ImageSet
from raysearch.tasks.base import Worker
from raysearch.tasks.common import Loader, cached
from raysearch.tasks.fewshot import evaluation, map_cache

from .fewshot_runs import FROZEN, METHODS, config, feed, finish, make, start

pytestmark = pytest.mark.usefixtures("tiny_taps")

SAMPLE = 2  # images that a store looks at for the shapes of the maps
HEADS = [case for case in METHODS if case not in ("centroid", "lwfm, no aux")]  # centroid learns nothing


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images that went through the backbone, of one batch each."""
    counts: list[int] = []
    original = Loader.take

    def take(self: Loader, images: ImageSet, rows: Tensor) -> Tensor:
        counts.append(len(rows))
        return original(self, images, rows)

    monkeypatch.setattr(Loader, "take", take)
    return counts


def files() -> list[Path]:
    return sorted(Path().glob("maps-*.npy"))


def test_a_cell_computes_the_maps_of_each_image_once(loaded: list[int]) -> None:
    finish(make(METHODS["lwfm"], FROZEN, {"train.epochs": 3}))
    sets = (feed().train, feed().val, feed().test)
    whole = [len(images) for images in sets if images is not None]
    assert sorted(loaded, reverse=True) == sorted([*whole, *[SAMPLE] * 3], reverse=True)


@pytest.mark.parametrize("case", HEADS)
def test_cells_share_maps_and_keep_their_numbers_bit_for_bit(
    case: str, loaded: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = finish(make(METHODS[case], FROZEN))
    shared = files()
    assert len(shared) == 3
    loaded.clear()
    assert finish(make(METHODS[case], FROZEN)) == expected
    assert set(loaded) == {SAMPLE}
    assert files() == shared
    monkeypatch.setattr(evaluation, "FILE_LIMIT", 0)  # nothing is kept between cells
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert finish(make(METHODS[case], FROZEN)) == expected
    assert files() == []


def test_a_backbone_that_is_trained_leaves_no_files() -> None:
    finish(make(METHODS["lwfm"]))
    assert files() == []


def test_a_run_without_training_keeps_its_maps(loaded: list[int]) -> None:
    change = {**METHODS["centroid"], "train.epochs": 0}
    expected = finish(make(change))
    assert len(files()) == 2  # of validation and test
    loaded.clear()
    assert finish(make(change)) == expected
    assert set(loaded) == {SAMPLE}


def test_everything_that_decides_the_maps_is_part_of_their_name() -> None:
    changed_weights = start()
    changed_weights["body.one.1.running_mean"] += 0.1
    workers: list[Worker] = [
        Worker(replace(feed(), content_hash="other"), Path()),
        Worker(replace(feed(), split="other-1"), Path()),
        Worker(feed(), Path(), start=changed_weights),
    ]
    settings: list[dict[str, Any]] = [
        {"data.zoom": 1.2},
        {"lwe.grid": 3},
        {"lwe.layers": [1]},
    ]
    tasks = [
        make(METHODS["lwfm"], FROZEN),
        *(make(METHODS["lwfm"], FROZEN, change) for change in settings),
        *(make(METHODS["lwfm"], FROZEN, worker=worker) for worker in workers),
    ]
    for count, task in enumerate(tasks, start=1):
        for part in ("train", "val", "test"):
            task._stores.store(part)
        assert len(files()) == 3 * count
    shared: list[dict[str, Any]] = [
        {"spm.weight": 0.3},
        {"train.lr": 0.5},
        {"episodes.shots": 1},
        {"train.precision": "float32"},  # which a CPU computes in anyway
    ]
    for changes in shared:
        make(METHODS["lwfm"], FROZEN, changes, seed=5)._stores.store("val")
    assert len(files()) == 3 * len(tasks), "heads and seeds share maps"


def test_another_state_has_other_maps() -> None:
    task = make(METHODS["lwfm"], FROZEN)
    rows = torch.arange(4)
    before = task._stores.store("val").maps(rows)
    state = task.state_dict()
    state["network"]["trunk.body.one.0.weight"] *= 2
    task.load_state_dict(state)
    assert not torch.equal(task._stores.store("val").maps(rows)[0], before[0])


@pytest.mark.parametrize("damage", ["cut", "flipped", "another's"])
def test_a_file_that_is_damaged_or_foreign_is_not_used(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = finish(make(METHODS["lwfm"], FROZEN))
    for path in files():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        if damage == "another's":
            monkeypatch.setattr("raysearch.tasks.common.tensor_cache.is_own", lambda status: False)
        else:
            path.write_bytes(content if damage == "flipped" else content[:-40])
    assert finish(make(METHODS["lwfm"], FROZEN)) == expected


def test_a_cache_that_cannot_be_written_fails_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = finish(make(METHODS["lwfm"], FROZEN))
    for path in files():
        path.unlink()

    def full(*_: Any) -> None:
        raise WriteError("no space left")

    monkeypatch.setattr(atomic, "replace_file", full)
    assert finish(make(METHODS["lwfm"], FROZEN)) == expected
    assert files() == []


def strided(dtype: torch.dtype) -> list[Tensor]:
    plain = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5).to(dtype)
    return [plain, plain.contiguous(memory_format=torch.channels_last), plain[:, :1, :1], plain.mT, plain[:0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_maps_come_back_with_their_values_types_and_orders(dtype: torch.dtype) -> None:
    taps = strided(dtype)
    for tap, original in zip(map_cache.unpack(map_cache.pack(taps)), taps, strict=True):
        assert tap.dtype == dtype
        assert torch.equal(tap, original)
        assert tap.stride() == original.clone().stride()


def test_the_files_that_were_not_used_for_longest_make_room(tmp_path: Path) -> None:
    table = torch.zeros(1000)
    room = 3 * 4200
    for number in range(3):
        cached(tmp_path, {"number": number}, table.clone, kind="maps", room=room)
    cached(tmp_path, {"other": "kind"}, table.clone)
    for age, path in enumerate(sorted(tmp_path.glob("maps-*"))):
        os.utime(path, (age + 1, age + 1))
    oldest, second, _ = sorted(tmp_path.glob("maps-*"))
    in_use = next(number for number in range(3) if cached_name(tmp_path, number) == oldest.name)
    cached(tmp_path, {"number": in_use}, table.clone, kind="maps", room=room)  # makes it the newest
    cached(tmp_path, {"number": 3}, table.clone, kind="maps", room=room)
    left = {path.name for path in tmp_path.glob("maps-*")}
    assert len(left) == 3
    assert oldest.name in left
    assert second.name not in left
    assert len(list(tmp_path.glob("features-*"))) == 1


def cached_name(folder: Path, number: int) -> str:
    """Return the name of the file under a key, by asking for it in an empty folder."""
    other = folder / f"alone-{number}"
    cached(other, {"number": number}, lambda: torch.zeros(1), kind="maps")
    (path,) = other.iterdir()
    return path.name


def test_large_maps_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "FILE_LIMIT", len(feed().test) * 4 * (4 + 6) * 2 * 2)
    finish(make(METHODS["lwfm"], FROZEN))
    assert len(files()) == 2  # the 18 training images are more than the 16 others
    assert config(METHODS["lwfm"], FROZEN).model.frozen
