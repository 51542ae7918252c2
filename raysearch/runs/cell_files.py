"""Files that a user's function keeps of a cell, beside its checkpoints: on a disk in place, in a store by copies."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from raysearch.core import UserError
from raysearch.storage import Location

FOLDER = "files"  # of a cell


class CellFiles:
    """A local directory whose files outlive the process. In a store it is a temporary directory, which is uploaded.

    Args:
        storage: path or URI of the run's checkpoints.
        cell: the cell's hash.

    Raises:
        UserError: the URI has no file system. `restore` and `save` raise it too: the store fails.
    """

    def __init__(self, storage: str, cell: str) -> None:
        self._location = Location.parse(storage) / cell / FOLDER
        self._temporary = None
        self._uploaded: dict[str, tuple[int, int]] = {}  # name -> time of change and size
        local = self._location.local
        if local is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="raysearch-files-")
            local = Path(self._temporary.name)
        self.directory = local

    def restore(self) -> None:
        """Bring the files of an earlier process here, before the cell continues."""
        if self._temporary is None:
            return
        for name in self._names_in_store():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for chunk in (self._location / name).chunks():
                    file.write(chunk)
            self._uploaded[name] = _stamp(path)

    def save(self) -> None:
        """Upload the files that are new or have changed, and remove those that are gone."""
        if self._temporary is None:
            return
        present = {
            path.relative_to(self.directory).as_posix(): _stamp(path)
            for path in sorted(self.directory.rglob("*"))
            if path.is_file()
        }
        for name, stamp in present.items():
            if self._uploaded.get(name) != stamp:
                (self._location / name.rpartition("/")[0] if "/" in name else self._location).make_directory()
                (self._location / name).upload(self.directory / name)
                self._uploaded[name] = stamp
        for name in self._uploaded.keys() - present.keys():
            (self._location / name).delete()
            del self._uploaded[name]

    def _names_in_store(self) -> list[str]:
        """Return the files in the store, relative to the directory.

        Raises:
            UserError: a name that leads out of the directory.
        """
        names = list(_files_below(self._location))
        for name in names:
            if not (self.directory / name).resolve().is_relative_to(self.directory.resolve()):
                raise UserError(f"'{self._location}' holds a file called '{name}', which leads out of it; remove it")
        return names


def _files_below(directory: Location, prefix: str = "") -> Iterator[str]:
    """Yield the files below a directory, relative to it; none if there is no such directory."""
    try:
        names = directory.listing()
    except FileNotFoundError:
        return
    for name in sorted(names):
        if name.endswith("/"):
            yield from _files_below(directory / name.rstrip("/"), prefix + name)
        else:
            yield prefix + name


def _stamp(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size
