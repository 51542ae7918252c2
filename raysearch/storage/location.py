"""Files and directories by path or URI, on this machine or in a store.

A `Location` is to any file system what a `Path` is to a local one. It holds the file system and a text that may be
shown. It never holds the URI that was given, whose credentials only the file system knows. A failure of a store becomes
a UserError of one line. A failure of the local disk stays an OSError.

Why not fsspec or universal_pathlib alone: pyarrow's clients for S3, Google, Azure and HDFS come with a package that
raysearch needs anyway, and Parquet is read through them without a Python file object. Neither library limits how long
an unreachable store is retried, replaces a file atomically where a store shows it byte by byte, or keeps credentials
out of error texts. fsspec serves the schemes that pyarrow does not know.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeAlias, Union

import pyarrow as pa
from pyarrow import fs

from raysearch.core import Unreachable, UserError, sanitize
from raysearch.storage import filesystems, uris

_WITHOUT_DIRECTORIES = frozenset({"s3", "gcs", "abfs"})  # a directory there is a common prefix of names
# These show a file from its first byte on; the others show an object only when it is complete.
_SHOW_PARTIAL_FILES = frozenset({"local", "hdfs", "sftp", "ssh", "smb", "webhdfs", "file"})
_CHUNK_BYTES = 1 << 23

LocationLike: TypeAlias = Union[str, "os.PathLike[str]", "Location"]


@dataclass(frozen=True)
class Location:
    """A file or directory, which may or may not exist.

    Args:
        filesystem: where it is.
        path: in that file system.
        text: the path or URI as it was given, without credentials.
    """

    filesystem: fs.FileSystem = field(repr=False)
    path: str
    text: str

    @classmethod
    def parse(cls, location: LocationLike) -> "Location":
        """Return the location that a path or a URI names.

        Raises:
            UserError: no file system for such a URI, no bucket in it, half of its credentials, or a path that is not
                UTF-8.

        >>> str(Location.parse("shards/cub") / "manifest.json")
        'shards/cub/manifest.json'
        >>> Location.parse("file:///data/cub").local
        PosixPath('/data/cub')
        """
        if isinstance(location, Location):
            return location
        text = os.fspath(location)
        sanitize.check_utf8(text)
        filesystem, path = filesystems.find_filesystem(text)
        return cls(filesystem, path, uris.without_credentials(text))

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> "Location":
        return Location(self.filesystem, f"{self.path.rstrip('/')}/{name}", uris.join_uri(self.text, name))

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def local(self) -> Path | None:
        """The path on this machine; None in a store."""
        if not isinstance(self.filesystem, fs.LocalFileSystem):
            return None
        return Path(self.path if uris.is_uri(self.text) else self.text)

    def file_type(self) -> fs.FileType:
        """Return File, Directory or NotFound.

        Raises:
            Unreachable: the store fails.
        """
        with self._store_errors():
            return self.filesystem.get_file_info(self.path).type

    def listing(self) -> dict[str, int]:
        """Return the names in the directory and their sizes in bytes. Names of folders end in a slash.

        A store answers with a thousand names per request.

        Raises:
            FileNotFoundError: no such directory; an object store has no empty directories.
            UserError: no such bucket.
            Unreachable: the store fails.
        """
        with self._store_errors():
            try:
                entries = self.filesystem.get_file_info(fs.FileSelector(self.path))
            except FileNotFoundError:
                self._check_bucket()
                raise
        folder = fs.FileType.Directory
        return {entry.base_name + "/" * (entry.type == folder): entry.size or 0 for entry in entries}

    def open(self) -> pa.NativeFile:
        """Open the file for random reads.

        Raises:
            FileNotFoundError: no such file.
            Unreachable: the store fails.
        """
        with self._store_errors():
            return self.filesystem.open_input_file(self.path)

    def read(self) -> bytes:
        """Return all bytes of the file.

        Raises:
            FileNotFoundError: no such file.
            Unreachable: the store fails.
        """
        with self._store_errors(), self.filesystem.open_input_file(self.path) as file:
            return file.read()

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the file, 8 MiB at a time.

        Raises:
            FileNotFoundError: no such file.
            Unreachable: the store fails.
        """
        with self.open() as file:
            while True:
                with self._store_errors():
                    chunk = file.read(_CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk

    def write(self, data: bytes | memoryview) -> None:
        """Replace the file. Readers see the old file or the new one. Its directory must exist.

        Raises:
            Unreachable: the store fails.
        """
        with (
            self._store_errors(),
            self._replacement_path() as path,
            self.filesystem.open_output_stream(path) as file,
        ):
            file.write(data)

    def upload(self, source: Path) -> None:
        """Replace the file by a copy of a local one. Readers see the old file or the new one.

        Raises:
            Unreachable: the store fails.
        """
        with (
            source.open("rb") as data,
            self._store_errors(),
            self._replacement_path() as path,
            self.filesystem.open_output_stream(path) as file,
        ):
            shutil.copyfileobj(data, file, _CHUNK_BYTES)

    def copy_to(self, target: "Location") -> None:
        """Replace another file of the same store by this one, without reading it: a link, or a copy by the store.

        Readers see the old file or the new one.

        Raises:
            NotImplementedError: this store, or the local file system, can do neither.
            Unreachable: the store fails.
        """
        with self._store_errors(), target._replacement_path() as path:
            if self.local is None:
                self.filesystem.copy_file(self.path, path)
                return
            try:
                os.link(self.path, path)
            except OSError as error:
                raise NotImplementedError(f"'{self}' cannot be linked to '{target}'") from error

    def make_directory(self) -> None:
        """Create this directory and its parents, where the store has directories.

        Raises:
            Unreachable: the store fails.
        """
        if self.filesystem.type_name not in _WITHOUT_DIRECTORIES:
            with self._store_errors():
                self.filesystem.create_dir(self.path, recursive=True)

    def delete(self) -> None:
        """Remove the file if it exists.

        Raises:
            Unreachable: the store fails.
        """
        with self._store_errors(), contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path)

    def _check_bucket(self) -> None:
        """Raise a UserError if the bucket is missing; some stores report an empty folder then."""
        if self.filesystem.type_name in ("s3", "gcs"):
            bucket = self.filesystem.get_file_info(self.path.partition("/")[0])
            if bucket.type == fs.FileType.NotFound:
                raise UserError(f"cannot reach '{self}': no such bucket")

    @contextlib.contextmanager
    def _replacement_path(self) -> Iterator[str]:
        """Yield the path to write to. Where the store shows partial files, it is renamed at the end."""
        if self.filesystem.type_name.rpartition("+")[2] not in _SHOW_PARTIAL_FILES:
            yield self.path
            return
        parent, _, name = self.path.rpartition("/")
        # Two writers may meet here: one that takes a cell over, and one that is dying without knowing it yet.
        path = f"{parent}/.{name}.{uuid.uuid4().hex[:8]}"
        try:
            yield path
            self.filesystem.move(path, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                self.filesystem.delete_file(path)
            raise

    @contextlib.contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Turn a store's errors into one line. A missing file is not an error of the store."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if self.local is not None:
                raise
            raise Unreachable(f"cannot reach '{self}': {filesystems.describe_fault(error)}") from None
