"""Small files in a directory that a path or a URI names, as checkpoints are: local, or in a store as `s3://bucket/run`."""

from raysearch.storage import Location


class CheckpointFiles:
    """A directory and the files in it, each written whole or not at all.

    Args:
        location: a path, or a URI.
        folder: below it.

    Raises:
        UserError: no file system for such a URI, or a store that fails.
    """

    def __init__(self, location: str, folder: str = "") -> None:
        place = Location.parse(location)
        self._place = place / folder if folder else place
        self._made = False

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is no such file."""
        try:
            return (self._place / name).read()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file; whoever reads meanwhile sees the old one or the new one."""
        if not self._made:
            self._place.make_directory()
            self._made = True
        (self._place / name).write(data)

    def names(self) -> list[str]:
        """The files of the directory, without what a killed writer left."""
        try:
            found = self._place.listing()
        except FileNotFoundError:
            return []
        return sorted(name for name in found if not name.startswith(".") and not name.endswith("/"))

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self._place / name).delete()
