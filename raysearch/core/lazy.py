"""Names of a package that are imported when they are first used."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attribute_loader(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package whose names are imported when they are first used.

    Args:
        package: its full name.
        homes: name -> module that defines it; a leading dot means a module of the package.

    >>> load = attribute_loader("collections", {"Mapping": ".abc"})
    >>> load("Mapping").__name__
    'Mapping'
    >>> load("Maping")
    Traceback (most recent call last):
    AttributeError: module 'collections' has no attribute 'Maping'
    """

    def _load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(homes[name], package), name)

    return _load
