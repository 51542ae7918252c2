"""Items that are chosen by name and can be added by extensions, such as hashing methods, backbones and layouts.

Items are registered where they are defined. An unknown name raises an error that lists the known names, so a lookup
never falls through to another item.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from raysearch.core import extensions, user_code
from raysearch.core.errors import UserError, nearest

Item = TypeVar("Item")


class Registry(Generic[Item]):
    """A dictionary of items by name, in the order of their registration. A miss loads the extensions first.

    A registry may also make items of a user's code. Such an item has the code's reference for a name, for example
    `my_loss.py:margin_loss`. It is found where the process has registered the code. Items of libraries have names such
    as `timm:resnet10t`. Neither kind is listed among the names.

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
        self.from_code: Callable[[user_code.UserCode], Item] | None = None
        self.from_library: dict[str, Callable[[str], Item]] = {}  # library -> function of a name in it
        self._items: dict[str, Item] = {}
        self._of_codes: dict[tuple[str, str], Item] = {}  # by reference and identity

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
        code = self._code(name)
        if code is not None:
            return self._item_of(code)
        library, _, rest = name.partition(":")
        if rest and library in self.from_library:
            return self.from_library[library](rest)
        if name not in self._items:
            hint = nearest(name, self._items)
            listed = "" if "known:" in hint else f" Known: {', '.join(self._items)}"
            raise UserError(f"unknown {self.kind} '{name}'{hint}{listed}")
        return self._items[name]

    def has_name(self, name: object) -> bool:
        """Return whether an item is registered under a name, or may be one of a library; a user's code is neither."""
        if name not in self._items:
            extensions.load_from_environment()
        return name in self._items or (isinstance(name, str) and name.partition(":")[0] in self.from_library)

    def check_name(self, name: str) -> str:
        """Return a name if an item is registered under it.

        Raises:
            UserError: the name is unknown.
        """
        self[name]
        return name

    def forget_codes(self) -> None:
        """Forget the items that were made of users' codes; they are made again when they are asked for."""
        self._of_codes.clear()

    def __contains__(self, name: object) -> bool:
        return self.has_name(name) or self._code(name) is not None

    def __iter__(self) -> Iterator[str]:
        extensions.load_from_environment()
        return iter(self._items)

    def __len__(self) -> int:
        extensions.load_from_environment()
        return len(self._items)

    def _code(self, name: object) -> user_code.UserCode | None:
        """Return the code that a name refers to, if items are made of codes."""
        if self.from_code is None or name in self._items or not isinstance(name, str):
            return None
        return user_code.registered_code(name)

    def _item_of(self, code: user_code.UserCode) -> Item:
        assert self.from_code is not None
        key = code.reference, code.identity
        if key not in self._of_codes:
            self._of_codes[key] = self.from_code(code)
        return self._of_codes[key]
