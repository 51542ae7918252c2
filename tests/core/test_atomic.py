"""Files are complete or absent, have the mode that the user's umask allows, and say why they cannot be written."""

import errno
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysearch.core import UserError, WriteError, atomic


@pytest.fixture
def umask() -> Iterator[None]:
    """Restore the process's umask."""
    old = os.umask(0o022)
    yield
    os.umask(old)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o027, 0o000])
def test_a_new_file_has_the_mode_of_any_other(tmp_path: Path, mask: int, umask: None) -> None:
    os.umask(mask)
    (tmp_path / "plain").write_text("")
    atomic.write_text(tmp_path / "folder" / "new", "text")
    assert mode(tmp_path / "folder" / "new") == mode(tmp_path / "plain")


@pytest.mark.parametrize("old", [0o600, 0o640, 0o664, 0o400, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, old: int, umask: None) -> None:
    path = tmp_path / "model.pt"
    path.write_text("old")
    path.chmod(old)
    atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode(path) == old


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    path.write_text("old")

    def _fail_halfway(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary))

    with pytest.raises(WriteError) as raised:
        atomic.replace_file(path, _fail_halfway)
    assert str(raised.value) == (
        f"cannot write '{path}': No space left on device; free some space, or write to another place"
    )
    assert isinstance(raised.value, UserError)
    assert isinstance(raised.value, OSError)
    copy = pickle.loads(pickle.dumps(raised.value))  # errors travel between processes
    assert (type(copy), copy.errno, str(copy)) == (WriteError, errno.ENOSPC, str(raised.value))
    with pytest.raises(KeyboardInterrupt):
        atomic.replace_file(path, lambda temporary: (_ for _ in ()).throw(KeyboardInterrupt))
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.parquet"]


def test_names_as_long_as_a_file_system_allows(tmp_path: Path) -> None:
    for name in ("x" * 255, "日" * 85, "\U0001f600" * 63):
        assert atomic.write_text(tmp_path / name, "text").read_text() == "text"
    with pytest.raises(WriteError, match="File name too long"):
        atomic.write_text(tmp_path / ("x" * 256), "text")


def test_text_is_utf8_with_line_feeds_whatever_it_holds(tmp_path: Path) -> None:
    path = atomic.write_text(tmp_path / "t", "日本\né \udcff\n")
    assert path.read_bytes() == "日本\né \\udcff\n".encode()


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    atomic.write_bytes(pipe, b"all of it")
    assert reader.communicate(timeout=30)[0] == b"all of it"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_directory_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="Is a directory"):
        atomic.write_text(tmp_path, "text")
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/below': (Not a directory|File exists)"):
        atomic.write_text(tmp_path / "file" / "below", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


LIMITED = """
import resource, sys
from pathlib import Path
import numpy, pyarrow as pa, pyarrow.parquet as pq
from raysearch.core import WriteError, atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
table = pa.table({"number": numpy.random.default_rng(0).random(50_000)})
writers = {
    "text": lambda path: path.write_text("x" * 200_000),
    "parquet": lambda path: pq.write_table(table, path),
    "numpy": lambda path: numpy.save(path.open("wb"), table["number"].to_numpy()),
}
for name, write in writers.items():
    try:
        atomic.replace_file(Path(sys.argv[1]) / name, write)
    except WriteError as error:
        print(error)
"""


def test_every_library_reports_a_limit_in_the_same_words(tmp_path: Path) -> None:
    made = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, check=True)
    advice = "File too large; raise the limit of file sizes, or write to another place"
    text, parquet, numpy_ = made.stdout.splitlines()
    assert text == f"cannot write '{tmp_path / 'text'}': {advice}"
    assert parquet == f"cannot write '{tmp_path / 'parquet'}': {advice}"
    assert numpy_.startswith(f"cannot write '{tmp_path / 'numpy'}': ")  # NumPy does not pass the reason on
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_read_whole_or_not_at_all_while_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    tables = [pa.table({"n": list(range(length))}) for length in (1, 1000)]
    for step in range(20):
        atomic.replace_file(path, lambda temporary, step=step: pq.write_table(tables[step % 2], temporary))
        assert pq.read_table(path).num_rows in (1, 1000)
