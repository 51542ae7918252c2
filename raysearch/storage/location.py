"""Files and directories by path or URI, on this machine or in a store.

A `Location` is to any file system what a `Path` is to a local one. It holds the file system and a text that may be
shown. It never holds the URI that was given, whose credentials only the file system knows. A failure of a store becomes
a UserError of one line. A failure of the local disk stays an OSError.
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

from raysearch.core.errors import Unreachable, UserError
from raysearch.storage import filesystems, uris

_FLAT = frozenset({"s3", "gcs", "abfs"})  # a directory is what names have in common
# Stores that show a file from its first byte; the others show an object when its last one is there.
_BY_BYTE = frozenset({"local", "hdfs", "sftp", "ssh", "smb", "webhdfs", "file"})
_CHUNK = 1 << 23

LocationLike: TypeAlias = Union[str, "os.PathLike[str]", "Location"]


@dataclass(frozen=True)
class Location:
    """Args:
    files: the file system.
    path: in it.
    text: as people gave it, without credentials.
    """

    files: fs.FileSystem = field(repr=False)
    path: str
    text: str

    @classmethod
    def parse(cls, location: LocationLike) -> "Location":
        """The place that a path or a URI names.

        Raises UserError: no file system for such a URI, no bucket in it, half of its credentials.

        >>> str(Location.parse("shards/cub") / "manifest.json")
        'shards/cub/manifest.json'
        >>> Location.parse("file:///data/cub").local
        PosixPath('/data/cub')
        """
        if isinstance(location, Location):
            return location
        text = os.fspath(location)
        files, path = filesystems.find_filesystem(text)
        return cls(files, path, uris.without_credentials(text))

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> "Location":
        return Location(self.files, f"{self.path.rstrip('/')}/{name}", uris.join_uri(self.text, name))

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def local(self) -> Path | None:
        """The path on this machine; None of what lies in a store."""
        if not isinstance(self.files, fs.LocalFileSystem):
            return None
        return Path(self.path if uris.is_uri(self.text) else self.text)

    def kind(self) -> fs.FileType:
        """File, Directory or NotFound."""
        with self._told():
            return self.files.get_file_info(self.path).type

    def listing(self) -> dict[str, int]:
        """Names in the directory and sizes in bytes, a thousand a request; folders end in a slash.

        Raises FileNotFoundError: no such directory; a store has none that is empty. UserError: no such bucket.
        """
        with self._told():
            try:
                found = self.files.get_file_info(fs.FileSelector(self.path))
            except FileNotFoundError:
                self._check_bucket()
                raise
        folder = fs.FileType.Directory
        return {one.base_name + "/" * (one.type == folder): one.size or 0 for one in found}

    def open(self) -> pa.NativeFile:
        """To be read at random. Raises FileNotFoundError."""
        with self._told():
            return self.files.open_input_file(self.path)

    def read(self) -> bytes:
        """All bytes. Raises FileNotFoundError."""
        with self._told(), self.files.open_input_file(self.path) as file:
            return file.read()

    def chunks(self) -> Iterator[bytes]:
        """All bytes, some at a time. Raises FileNotFoundError."""
        with self.open() as file:
            while True:
                with self._told():
                    chunk = file.read(_CHUNK)
                if not chunk:
                    return
                yield chunk

    def write(self, data: bytes) -> None:
        """Replace the file; whoever reads meanwhile sees the old one or the new one. Its directory has to be there."""
        with self._told(), self._replaced() as path, self.files.open_output_stream(path) as file:
            file.write(data)

    def upload(self, source: Path) -> None:
        """Replace the file by a copy of a local one, as `write` does."""
        with (
            source.open("rb") as data,
            self._told(),
            self._replaced() as path,
            self.files.open_output_stream(path) as file,
        ):
            shutil.copyfileobj(data, file, _CHUNK)

    def make_directory(self) -> None:
        """Make this directory and those above it, where the store has directories."""
        if self.files.type_name not in _FLAT:
            with self._told():
                self.files.create_dir(self.path, recursive=True)

    def delete(self) -> None:
        """Remove the file, if it is there."""
        with self._told(), contextlib.suppress(FileNotFoundError):
            self.files.delete_file(self.path)

    def _check_bucket(self) -> None:
        """Raise UserError where it is the bucket that is missing; some stores do not tell that from an empty folder."""
        if self.files.type_name in ("s3", "gcs"):
            bucket = self.files.get_file_info(self.path.partition("/")[0])
            if bucket.type == fs.FileType.NotFound:
                raise UserError(f"cannot reach '{self}': no such bucket")

    @contextlib.contextmanager
    def _replaced(self) -> Iterator[str]:
        """The path to write to, which becomes this one at the end where the store would show half a file."""
        if self.files.type_name.rpartition("+")[2] not in _BY_BYTE:
            yield self.path
            return
        above, _, name = self.path.rpartition("/")
        # Two writers may meet here: one that takes a cell over, and one that does not know yet that it is dying.
        path = f"{above}/.{name}.{uuid.uuid4().hex[:8]}"
        try:
            yield path
            self.files.move(path, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                self.files.delete_file(path)
            raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Faults of a store in one line; that nothing is there is no fault."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if self.local is not None:
                raise
            raise Unreachable(f"cannot reach '{self}': {filesystems.describe_fault(error)}") from None
