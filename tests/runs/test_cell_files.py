"""Files that a user's function keeps of a cell: on a disk, in a store that pyarrow knows, and in one of fsspec."""

import pytest

from raysearch.engine.trials.mailbox import Begin
from raysearch.engine.trials.running_cell import RunningCell
from raysearch.runs.cell_files import CellFiles
from raysearch.tasks.base import Worker


@pytest.fixture(params=["path", "s3", "fsspec"])
def storage(request, tmp_path):
    if request.param == "path":
        return str(tmp_path / "run")
    return request.getfixturevalue("s3").uri("run") if request.param == "s3" else f"memory://{tmp_path.name}/run"


def test_files_are_uploaded_changed_removed_and_restored(storage):
    files = CellFiles(storage, "cell")
    (files.directory / "plots" / "deep").mkdir(parents=True)
    (files.directory / "plots" / "deep" / "a.txt").write_text("1")
    (files.directory / "b").write_bytes(b"")
    files.save()
    (files.directory / "plots" / "deep" / "a.txt").write_text("twelve")
    (files.directory / "b").unlink()
    (files.directory / "c").write_text("3")
    files.save()
    again = CellFiles(storage, "cell")
    again.restore()
    contents = {
        path.relative_to(again.directory).as_posix(): path.read_text()
        for path in again.directory.rglob("*")
        if path.is_file()
    }
    assert contents == {"plots/deep/a.txt": "twelve", "c": "3"}


def test_a_cell_without_files_leaves_nothing(storage):
    files = CellFiles(storage, "cell")
    files.save()
    files.restore()
    assert not files.directory.exists() or not list(files.directory.iterdir())


class KeepsFiles:
    """Writes a line per step into a file of its cell."""

    steps = 3
    metric_ids = {}  # noqa: RUF012

    def __init__(self, config, seed, worker):
        self.file = worker.out / "log"

    def advance(self):
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as file:
            file.write("step\n")
        return {"loss": 1.0}

    def evaluate(self):
        self.file.with_name("end").touch()
        return {"lines": len(self.file.read_text().splitlines())}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_cell_that_continues_in_another_process_finds_its_files(storage, tmp_path):
    first = RunningCell(Begin("cell", {}, 0, storage), KeepsFiles, Worker(None, tmp_path))
    first.step()
    first.step()
    first.close()
    second = RunningCell(Begin("cell", {}, 0, storage), KeepsFiles, Worker(None, tmp_path))
    assert second.step().metrics == {"lines": 3}
    second.close()
    last = CellFiles(storage, "cell")
    last.restore()
    assert (last.directory / "end").exists()
