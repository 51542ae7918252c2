"""Errors that a user can act on, and hints that name the nearest known name."""

import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator


class UserError(ValueError):
    """The user's input cannot work. The message is one line: what is wrong, where, and what to do."""

    @property
    def messages(self) -> tuple[str, ...]:
        """The message; of `UserErrors` one message per mistake."""
        return (str(self),)


class UserErrors(UserError):
    """Several mistakes in the user's input, found together. A command prints one line for each.

    Args:
        messages: a line per mistake.

    >>> UserErrors(["no such path", "no such seed"]).messages
    ('no such path', 'no such seed')
    """

    def __init__(self, messages: Iterable[str]) -> None:
        super().__init__(tuple(messages))

    def __str__(self) -> str:
        return "; ".join(self.messages)

    @property
    def messages(self) -> tuple[str, ...]:
        """One line per mistake."""
        return tuple(self.args[0])


class Problems:
    """The mistakes that a check has found so far, each once.

    >>> problems = Problems()
    >>> with problems.caught():
    ...     raise UserError("no such path")
    >>> problems.messages
    ['no such path']
    """

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, *messages: str) -> None:
        """Add mistakes, unless they are known."""
        self.messages += [message for message in dict.fromkeys(messages) if message not in self.messages]

    @contextlib.contextmanager
    def caught(self, prefix: str = "") -> Iterator[None]:
        """Add what the block raises as a UserError, with a prefix for each line, and go on after the block."""
        try:
            yield
        except UserError as error:
            self.add(*(prefix + message for message in error.messages))

    def raise_all(self) -> None:
        """Raise the mistakes, if there are any.

        Raises:
            UserError: one mistake; of several a `UserErrors`.
        """
        if len(self.messages) == 1:
            raise UserError(self.messages[0])
        if self.messages:
            raise UserErrors(self.messages)


# What helps against an error of the operating system.
_ADVICE = {
    errno.ENOSPC: "free some space, or write to another place",
    errno.EDQUOT: "free some of the quota, or write to another place",
    errno.EFBIG: "raise the limit of file sizes, or write to another place",
    errno.EROFS: "write to another place",
    errno.EACCES: "change its permissions, or use another place",
    errno.EPERM: "change its permissions, or use another place",
    errno.EMFILE: "raise the limit with `ulimit -n`",
}


class WriteError(OSError, UserError):
    """A file that cannot be written. The arguments are those of OSError: number, reason, path.

    >>> str(WriteError(errno.ENOSPC, "No space left on device", "model.pt"))
    "cannot write 'model.pt': No space left on device; free some space, or write to another place"
    """

    def __str__(self) -> str:
        return f"cannot write '{self.filename}': {self.strerror}{advice(self)}"


def advice(error: OSError) -> str:
    """Return what to do about an error of the operating system, to append to a message; empty if there is nothing."""
    text = _ADVICE.get(error.errno or 0)
    return f"; {text}" if text else ""


class Unreachable(UserError):
    """A store does not answer, or refuses access. The input may be right."""


def type_of(value: object) -> str:
    """Return the type of a value with its article, for messages.

    >>> type_of(3), type_of("text"), type_of([])
    ('an int', 'a str', 'a list')
    """
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint to append to a message: the nearest known name, or the list of known names.

    >>> nearest("srem.region", ["srem.regions", "hash.bits"])
    "; did you mean 'srem.regions'?"
    >>> nearest("mAP", ["map", "map_validation"])
    "; did you mean 'map'?"
    >>> nearest("xyz", ["laptop", "paper"])
    '; known: laptop, paper'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if not close:
        by_folded = {known_name.casefold(): known_name for known_name in names}
        folded = difflib.get_close_matches(name.casefold(), by_folded, n=1)
        close = [by_folded[match] for match in folded]
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""
