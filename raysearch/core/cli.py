"""How raysearch's command lines end: a wrong input is one line on standard error and exit code 2."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console

from raysearch.core import sanitize
from raysearch.core.errors import UserError, nearest


def run(app: typer.Typer, arguments: list[str] | None = None, name: str | None = None) -> NoReturn:
    """Run a typer app and leave the process: 0 done, 1 something failed, 2 wrong input, 130 interrupted.

    Args:
        app: the commands.
        arguments: None: the process's own.
        name: of the program in its help; None: as it was started.
    """
    command = typer.main.get_command(app)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = command.main(args=words, prog_name=name, standalone_mode=False)
    except UserError as error:
        exit_with_error(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # typer carries its own copy of click in some releases, so click's errors are known by what they offer
        if not hasattr(error, "format_message"):
            raise
        exit_with_error(_usage_message(error, command))
    sys.exit(code if isinstance(code, int) else 0)


def console() -> Console:
    """Where results are printed. A log has no width; rich would take 80 columns and break the table's names."""
    screen = Console(highlight=False, soft_wrap=True)
    return screen if screen.is_terminal else Console(highlight=False, soft_wrap=True, width=140)


def check_writable(path: Path, name: str) -> None:
    """Raise a UserError, before any work, for a file that could not be written at its end; `name` is the argument's."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: {name} takes a file in a directory that exists and can be written")


def exit_with_error(message: str) -> NoReturn:
    """Print one line and leave with exit code 2."""
    print(f"error: {sanitize.escape_controls(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(2)


def _usage_message(error: Exception, command) -> str:
    message = error.format_message().replace("Value error, ", "")  # type: ignore[attr-defined]
    option, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    command = command if context is None else context.command  # of several commands the one that was given
    if option and not hasattr(error, "param"):
        names = [name for one in command.params for name in (*one.opts, *one.secondary_opts)]
        known = [name for name in names if name.startswith("-")]
        return f"unknown flag {option}{nearest(option, known)}"
    return message
