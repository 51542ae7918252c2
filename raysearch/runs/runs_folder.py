"""The runs side by side in a folder, of this machine or of a store."""

from raysearch.runs import imported
from raysearch.runs.run_location import RunLocation
from raysearch.storage import Location, join_uri

_STUDY = "study.json"
_CELLS = "cells"


def holds_runs(location: str) -> bool:
    """Return whether a path or URI is no run itself, but a folder with at least one run.

    Args:
        location: as the user gave it.

    Raises:
        UserError: the store does not answer, or the URI has no file system.
    """
    place = Location.parse(location)
    entries = _entries(place)
    if {_STUDY, f"{_CELLS}/"} & entries.keys():
        return False
    return any(_STUDY in _entries(place / name) for name in _folders(entries))


def runs_in(location: str) -> list[RunLocation]:
    """Return the runs of a folder by name: those of raysearch, damaged or not, and results of other tools.

    The arguments and errors are those of `holds_runs`.
    """
    place = Location.parse(location)
    runs = []
    for name in _folders(_entries(place)):
        is_ours = bool({_STUDY, f"{_CELLS}/"} & _entries(place / name).keys())
        if is_ours or (place.local is not None and imported.is_foreign(place.local / name)):
            runs.append(RunLocation(join_uri(location, name) if place.local is None else place.local / name))
    return runs


def _entries(place: Location) -> dict[str, int]:
    """Return the names in a folder; none if it cannot be opened on this machine."""
    try:
        return place.listing()
    except OSError:
        return {}


def _folders(entries: dict[str, int]) -> list[str]:
    return sorted(name.rstrip("/") for name in entries if name.endswith("/") and not name.startswith("."))
