"""Messages as lines of standard output."""

import json
import sys
from collections.abc import Sequence

from raysearch.core import cli
from raysearch.messages.message import ErrorMessage, Message

FLAG = "--json"


class JsonLines:
    """Prints messages, one JSON object per line. Each line is flushed, so that a reader of the pipe sees it at once."""

    def emit(self, message: Message) -> None:
        """Print a message."""
        cli.print_json(json.loads(message.model_dump_json()), indent=None)
        sys.stdout.flush()


def print_error(messages: Sequence[str]) -> None:
    """Print the errors that end a command as the last line, if the command line asks for JSON."""
    if FLAG in sys.argv:
        JsonLines().emit(ErrorMessage(messages=list(messages)))
