"""The members of a tar file, to its very end: also behind an end marker, where another archive was appended.

Python's `tarfile` stops at an end marker, and takes a damaged header for one. Here the bytes behind it decide: another
archive is read on, anything else is an error that names the place. A compressed tar file is unpacked to a temporary
file first, since images are read by their offset.
"""

import bz2
import contextlib
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from raysearch.data.layouts.readers.temporary_images import TemporaryImages
from raysearch.data.shards import Loader, SliceLoader

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
BREAKS = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError, MemoryError)
UNPACKING_BREAKS = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)
_ZEROS = bytes(1 << 20)


class Archive(NamedTuple):
    """A tar file that can be read by offsets."""

    path: Path  # as the user named it
    content: Path  # the uncompressed bytes: the same file, or a temporary one
    start: int
    end: int
    store: TemporaryImages | None
    problem: str  # why unpacking stopped early, or ""

    def loader(self, offset: int, size: int) -> Loader:
        """Return the loader of a member's bytes."""
        if self.store is not None:
            return self.store.loader(offset, size, self.path)
        return SliceLoader(str(self.path), offset, size, str(self.path))


def open_archive(path: Path, stores: list[TemporaryImages]) -> Archive:
    """Return a tar file; a compressed one is unpacked.

    Args:
        path: the path of the file.
        stores: the temporary file for compressed archives; empty before the first, which adds it.

    Raises:
        UserError: the temporary file cannot be written.
    """
    if path.name.lower().endswith(".tar"):
        return Archive(path, path, 0, path.stat().st_size, None, "")
    if not stores:
        stores.append(TemporaryImages())
    store = stores[0]
    start = store.end
    problem = ""
    try:
        with unpacked(path) as stream:
            store.copy(stream.read)
    except UNPACKING_BREAKS as error:
        problem = f"it does not unpack to its end ({type(error).__name__})"
    return Archive(path, store.path, start, store.end, store, problem)


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Yield the uncompressed bytes of a tar file as a stream. Reading raises one of UNPACKING_BREAKS."""
    ending = path.name.lower().rpartition(".")[2]
    if ending == "tar":
        with path.open("rb") as file:
            yield file
    elif ending in ("gz", "tgz"):
        with gzip.open(path, "rb") as file:
            yield file  # type: ignore[misc]
    elif ending in ("bz2", "tbz2"):
        with bz2.open(path, "rb") as file:
            yield file  # type: ignore[misc]
    elif ending in ("xz", "txz"):
        with lzma.open(path, "rb") as file:
            yield file  # type: ignore[misc]
    else:
        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
            yield stream


def first_members(path: Path, limit: int) -> Iterator[tarfile.TarInfo]:
    """Yield the first members of a tar file without unpacking the rest; fewer if it breaks off."""
    with (
        contextlib.suppress(*BREAKS, *UNPACKING_BREAKS),
        unpacked(path) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        for _ in range(limit):
            member = tar.next()
            if member is None:
                return
            yield member


def members(archive: Archive) -> Iterator[tarfile.TarInfo]:
    """Yield all members of a tar file, with offsets into `archive.content`.

    Raises:
        tarfile.ReadError: it breaks off or is damaged; the members before were yielded.
    """
    start = archive.start
    with archive.content.open("rb") as file:
        while True:
            file.seek(start)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if member.offset_data + _stored_size(member) > archive.end:
                        raise tarfile.ReadError(f"{member.name} is longer than the file")
                    yield member
                end = tar.offset
            start = _skip_end_marker(file, end, archive)
            if start == archive.end:
                if archive.problem:
                    raise tarfile.ReadError(archive.problem)
                return


def _stored_size(member: tarfile.TarInfo) -> int:
    return member.size if member.isreg() and not member.issparse() else 0


def _skip_end_marker(file: BinaryIO, end: int, archive: Archive) -> int:
    """Return where the next archive begins, or the end of the file.

    Raises:
        tarfile.ReadError: there is no end marker, or no archive behind it.
    """
    file.seek(end)
    block = file.read(min(tarfile.BLOCKSIZE, archive.end - end))
    if block != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("no end marker" if len(block) < tarfile.BLOCKSIZE else f"no header at byte {end:,}")
    position = end + tarfile.BLOCKSIZE
    while position < archive.end:
        file.seek(position)
        data = file.read(min(len(_ZEROS), archive.end - position))
        if data.count(0) != len(data):
            first = len(data) - len(data.lstrip(b"\0"))
            position += first // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
            _check_header(file, position, archive)
            return position
        position += len(data)
    return archive.end


def _check_header(file: BinaryIO, position: int, archive: Archive) -> None:
    file.seek(position)
    block = file.read(min(tarfile.BLOCKSIZE, archive.end - position))
    try:
        tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.TarError:
        raise tarfile.ReadError(f"bytes that are no archive follow its end, at byte {position:,}") from None
