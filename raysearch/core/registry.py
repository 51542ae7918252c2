"""Items that are chosen by name and can be added by extensions, such as hashing methods, backbones and layouts.

Items are registered where they are defined. An unknown name raises an error that lists the known names, so a lookup
never falls through to another item.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

from raysearch.core import extensions
from raysearch.core.errors import UserError, nearest

Item = TypeVar("Item")


class Registry(Generic[Item]):
    """A dictionary of items by name, in the order of their registration. A miss loads the extensions first.

    Args:
        kind: the kind of item in error messages, such as "hashing method".

    >>> shapes = Registry[int]("shape")
    >>> shapes.register("square", 4)
    4
    >>> shapes["square"], "circle" in shapes, list(shapes)
    (4, False, ['square'])
    >>> shapes["squar"]
    Traceback (most recent call last):
    raysearch.core.errors.UserError: unknown shape 'squar'; did you mean 'square'? Known: square
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, Item] = {}

    def register(self, name: str, item: Item) -> Item:
        """Add an item and return it.

        Raises:
            UserError: the name is registered already.
        """
        if name in self._items:
            raise UserError(f"the {self.kind} '{name}' is registered twice; choose another name")
        self._items[name] = item
        return item

    def put(self, name: str, item: Item) -> Item:
        """Add an item and return it; it replaces one of the same name, such as an earlier state of a user's file."""
        self._items[name] = item
        return item

    def __getitem__(self, name: str) -> Item:
        """Return the item with a name.

        Raises:
            UserError: the name is unknown. The message lists the known names.
        """
        if name not in self._items:
            extensions.load_from_environment()
        if name not in self._items:
            hint = nearest(name, self._items)
            listed = "" if "known:" in hint else f" Known: {', '.join(self._items)}"
            raise UserError(f"unknown {self.kind} '{name}'{hint}{listed}")
        return self._items[name]

    def check_name(self, name: str) -> str:
        """Return a name if an item is registered under it.

        Raises:
            UserError: the name is unknown.
        """
        self[name]
        return name

    def __contains__(self, name: object) -> bool:
        if name not in self._items:
            extensions.load_from_environment()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        extensions.load_from_environment()
        return iter(self._items)

    def __len__(self) -> int:
        extensions.load_from_environment()
        return len(self._items)
