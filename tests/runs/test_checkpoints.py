"""Small files by path and by URI, and the checkpoints of a cell in them."""

import threading
from pathlib import Path

import fsspec
import pytest
import torch

from raysearch.core import UserError
from raysearch.runs.checkpoints import BEST, NEWEST, CheckpointFiles, Checkpoints, decode_state

CPU = torch.device("cpu")


@pytest.fixture(params=["path", "uri", "fsspec"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same kind of place by a path, a URI that pyarrow knows, and one that only fsspec knows."""
    if request.param == "fsspec":
        return f"memory://{tmp_path.name}/run"
    return str(tmp_path / "run") if request.param == "path" else (tmp_path / "run").as_uri()


def test_files_are_written_replaced_listed_and_removed(location: str) -> None:
    storage = CheckpointFiles(location, "cell")
    assert storage.read("a") is None
    assert storage.names() == []
    storage.write("a", b"one")
    storage.write("b", b"")
    storage.write("a", b"two")
    assert storage.read("a") == b"two"
    assert CheckpointFiles(location, "cell").names() == ["a", "b"]
    storage.delete("a")
    storage.delete("a")
    assert storage.names() == ["b"]


def test_an_unknown_kind_of_uri_is_said() -> None:
    with pytest.raises(UserError, match="cannot reach 'nosuch://bucket/run'"):
        CheckpointFiles("nosuch://bucket/run")


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    storage, sizes, stop = CheckpointFiles(str(tmp_path)), set(), threading.Event()
    storage.write("state", b"x" * 1000)

    def look() -> None:
        while not stop.is_set():
            sizes.add(len(CheckpointFiles(str(tmp_path)).read("state") or b""))

    reader = threading.Thread(target=look)
    reader.start()
    for index in range(200):
        storage.write("state", b"x" * (1000 if index % 2 else 3_000_000))
    stop.set()
    reader.join()
    assert sizes <= {1000, 3_000_000}
    assert len(sizes) == 2, "the reader met one version only: the test shows nothing"


def state(step: int) -> dict:
    return {"task": {"weight": torch.full((3,), float(step))}, "step": step}


def step_of(data: bytes | None) -> int:
    assert data is not None
    return decode_state(data, CPU)["step"]


def test_the_newest_and_the_best_are_kept(location: str) -> None:
    kept = Checkpoints(location, "cell")
    assert kept.read() is None
    for step, best in ((1, True), (2, True), (3, False)):
        kept.save(state(step), best)
    files = CheckpointFiles(location, "cell")
    assert step_of(files.read(NEWEST)) == step_of(kept.read()) == 3
    assert step_of(files.read(BEST)) == 2
    assert torch.equal(decode_state(kept.read() or b"", CPU)["task"]["weight"], torch.full((3,), 3.0))


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_newest_falls_back_to_the_best(location: str, damage: bytes | None) -> None:
    kept, files = Checkpoints(location, "cell"), CheckpointFiles(location, "cell")
    kept.save(state(1), best=True)
    kept.save(state(2), best=False)
    whole = files.read(NEWEST) or b""
    files.write(NEWEST, whole[: len(whole) // 2] if damage is None else damage)
    assert step_of(kept.read()) == 1
    files.write(BEST, b"gone too")
    assert kept.read() is None


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    """A file that a stranger left in the storage is not unpickled."""
    mark = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return Path.touch, (mark,)

    torch.save({"task": Hostile()}, tmp_path / "hostile.pt")
    files = CheckpointFiles(str(tmp_path), "cell")
    files.write(NEWEST, (tmp_path / "hostile.pt").read_bytes())
    assert Checkpoints(str(tmp_path), "cell").read() is None
    assert not mark.exists()


def test_attempts_are_counted_across_owners(location: str) -> None:
    assert [Checkpoints(location, "cell").count_attempt() for _ in range(3)] == [1, 2, 3]
    assert Checkpoints(location, "other").count_attempt() == 1
    CheckpointFiles(location, "cell").write("attempts.json", b"{")
    assert Checkpoints(location, "cell").count_attempt() == 1


def test_a_pinned_state_outlives_newer_ones(location: str) -> None:
    kept, names = Checkpoints(location, "cell"), []
    for step in range(1, 6):
        kept.save(state(step), best=False)
        names.append(kept.pin(step))
    assert step_of(kept.read(names[-2])) == 4
    assert kept.read(names[0]) is None, "old pins are removed"


@pytest.fixture(autouse=True, scope="module")
def empty_memory():
    yield
    fsspec.filesystem("memory").store.clear()
