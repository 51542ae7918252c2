"""Copies of images, or of whole archives, in one temporary file, for containers that cannot be read at an offset.

Columns of Parquet files and compressed archives are read once, from front to back. The copies go to the folder that
TMPDIR names; every node must see it. The file is removed with the process; if that was killed, with the next ingest
that needs such a file.
"""

import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

from raysearch.core import UserError
from raysearch.data.shards import SliceLoader, open_temporary_file

COPIED_AT_ONCE = 1 << 20  # bytes


class TemporaryImages:
    """The bytes of many images in one file, which is removed once no image refers to it."""

    def __init__(self) -> None:
        self._file = open_temporary_file(Path(tempfile.gettempdir()), "raysearch")
        self._end = 0
        weakref.finalize(self, Path(self._file.name).unlink, missing_ok=True)

    @property
    def path(self) -> Path:
        """The path of the file."""
        return Path(self._file.name)

    @property
    def end(self) -> int:
        """The number of bytes so far."""
        return self._end

    def add(self, data: bytes, origin: Path) -> "StoredImage":
        """Append bytes from `origin`; return their loader, which works after `flush`."""
        start = self._end
        self._write(data)
        return self.loader(start, len(data), origin)

    def copy(self, read: Callable[[int], bytes]) -> None:
        """Append all that a function returns when it is called with a number of bytes, until it returns none.

        Raises:
            UserError: the file cannot be written.
            Exception: whatever `read` raises; what it has returned before is in the file.
        """
        try:
            while data := read(COPIED_AT_ONCE):
                self._write(data)
        finally:
            self.flush()

    def loader(self, start: int, size: int, origin: Path) -> "StoredImage":
        """Return the loader of `size` bytes from `start`, which came from `origin`."""
        return StoredImage(self, SliceLoader(self._file.name, start, size, str(origin)))

    def flush(self) -> None:
        """Write buffered bytes."""
        self._file.flush()

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise UserError(
                f"cannot write to {tempfile.gettempdir()} ({error.strerror}); name another folder by TMPDIR"
            ) from error
        self._end += len(data)


class StoredImage:
    """A loader that keeps its store alive. When pickled, only the slice travels."""

    def __init__(self, store: TemporaryImages, loader: SliceLoader) -> None:
        self._store = store
        self._loader = loader

    def __call__(self) -> bytes:
        return self._loader()

    def stamp(self) -> str:
        """Return the size and time of the origin, and the place of the image in it."""
        return self._loader.stamp()

    def file(self) -> str:
        """Return the path of the origin."""
        return self._loader.file()

    def __reduce__(self) -> tuple[type[SliceLoader], SliceLoader]:
        return SliceLoader, self._loader
