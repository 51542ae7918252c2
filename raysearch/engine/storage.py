"""Small files in a directory that a path or a URI names: local, or what pyarrow or fsspec reach, as `s3://bucket/run`."""

import uuid
from pathlib import Path

import fsspec
import pyarrow as pa
from pyarrow import fs

from raysearch.errors import UserError


class Storage:
    """A directory and the files in it, each written whole or not at all.

    Args:
        location: a path, or a URI.
        folder: below it.

    Raises:
        UserError: no file system for such a URI.
    """

    def __init__(self, location: str, folder: str = "") -> None:
        self._files, root = resolve(location)
        self._root = f"{root}/{folder}" if folder else root
        self._local = isinstance(self._files, fs.LocalFileSystem)
        self._made = False

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is no such file."""
        try:
            with self._files.open_input_file(f"{self._root}/{name}") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file; whoever reads meanwhile sees the old one or the new one."""
        if not self._made:
            self._files.create_dir(self._root, recursive=True)
            self._made = True
        # An object store shows an object when its last byte is there; a directory shows a file from its first.
        # Two writers may meet here: one that takes a cell over, and one that does not know yet that it is dying.
        path = f"{self._root}/.{name}.{uuid.uuid4().hex[:8]}" if self._local else f"{self._root}/{name}"
        try:
            with self._files.open_output_stream(path) as file:
                file.write(data)
            if self._local:
                self._files.move(path, f"{self._root}/{name}")
        except BaseException:
            if self._local:
                Path(path).unlink(missing_ok=True)
            raise

    def names(self) -> list[str]:
        """The files of the directory, without what a killed writer left."""
        found = self._files.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        names = [info.base_name for info in found if info.type == fs.FileType.File]
        return sorted(name for name in names if not name.startswith("."))

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            self._files.delete_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return


def resolve(location: str) -> tuple[fs.FileSystem, str]:
    """A file system and the path in it.

    >>> resolve("/tmp/runs")[1]
    '/tmp/runs'
    """
    if "://" not in location:
        return fs.LocalFileSystem(), str(Path(location).resolve())
    try:
        files, root = fs.FileSystem.from_uri(location)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        try:
            found, root = fsspec.core.url_to_fs(location)
        except (ValueError, ImportError) as error:
            raise UserError(f"cannot reach '{location}': {error}") from None
        files = fs.PyFileSystem(fs.FSSpecHandler(found))
    except OSError as error:
        raise UserError(f"cannot reach '{location}': {error}") from None
    return files, root.rstrip("/")
