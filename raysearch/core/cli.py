"""Parts that all command lines share: their common options, their output, and how they end.

A wrong input is one line on standard error and exit code 2. Every command takes `--verbose` and `--extension`.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from raysearch.core import extensions, sanitize
from raysearch.core.errors import UserError, nearest
from raysearch.core.logging import configure_logging

_LOG_WIDTH = 140
_COMMON = "For every command"


def run(app: typer.Typer, arguments: list[str] | None = None, name: str | None = None) -> NoReturn:
    """Run a typer app and exit: 0 for success, 1 for a failure, 2 for wrong input, 130 for an interrupt.

    Args:
        app: the commands.
        arguments: the words of the command line; None for those of this process.
        name: the program's name in its help; None for the name it was started by.
    """
    command = typer.main.get_command(app)
    _add_common_options(command)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = command.main(args=words, prog_name=name, standalone_mode=False)
    except UserError as error:
        exit_with_error(*error.messages)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # Some releases of typer have their own copy of click, so click's errors are recognized by this method.
        if not hasattr(error, "format_message"):
            raise
        exit_with_error(_usage_message(error, command))
    sys.exit(code if isinstance(code, int) else 0)


def console() -> Console:
    """Return the console for results. A log file has no width, and rich's 80 columns would break names in tables."""
    screen = Console(highlight=False, soft_wrap=True)
    return screen if screen.is_terminal else Console(highlight=False, soft_wrap=True, width=_LOG_WIDTH)


def check_writable(path: Path, name: str) -> None:
    """Check before any work that a file can be written at the end.

    Args:
        path: the file.
        name: the argument that gave it.

    Raises:
        UserError: it is a directory, or its directory cannot be written.
    """
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: {name} must be a file in an existing, writable directory")


def exit_with_error(*messages: str) -> NoReturn:
    """Print a line per message to standard error and exit with code 2."""
    for message in messages:
        print(f"error: {sanitize.escape_controls(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(2)


def examples(*lines: str) -> str:
    """Return the end of a command's help: the lines of a shell, one below the other.

    >>> examples("raysearch report runs/demo")
    'Examples:\\n\\nraysearch report runs/demo'
    """
    return "\n\n".join(["Examples:", *lines])


def _add_common_options(command: Any) -> None:
    """Add the common options to a click command and its subcommands. A command of one function has no callback."""
    subcommands = getattr(command, "commands", {})
    for subcommand in subcommands.values():
        _add_common_options(subcommand)
    if not subcommands:
        taken = {word for parameter in command.params for word in parameter.opts}
        command.params += [option for option in _common_options() if not taken & set(option.opts)]
    show_help = command.get_help_option(command.context_class(command))  # the command keeps it
    show_help.rich_help_panel = _COMMON
    show_help.help = "print this text"
    for parameter in [*command.params, show_help]:
        _name_value(parameter)


def _name_value(parameter: Any) -> None:
    """Let the help show `N`, `PATH` or nothing for a value. Typer 0.29 shows Python's types, such as `<bool>`."""
    descriptor = getattr(parameter, "type_descriptor", None)
    if descriptor is None:
        return  # an earlier release, which does not
    if parameter.param_type_name == "argument":
        parameter.display_type_rich = lambda ctx: None
    elif parameter.metavar is None and (parameter.is_flag or parameter.count):
        parameter.metavar = ""
    elif parameter.metavar is None and descriptor.annotation in (int, float):
        parameter.metavar = "N"
    elif parameter.metavar is None and descriptor.annotation is Path:
        parameter.metavar = "PATH"
    elif parameter.metavar is None and not descriptor.is_choice:
        parameter.metavar = str(parameter.name).rstrip("_").upper().replace("_", "-")


def _common_options() -> list[Any]:
    """Return the options as typer makes them for a function. They act by themselves and are not passed on."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def options(
        verbose: Annotated[
            int,
            typer.Option(
                "--verbose",
                "-v",
                count=True,
                is_eager=True,
                expose_value=False,
                callback=configure_logging,
                show_default=False,
                rich_help_panel=_COMMON,
                help="log progress to standard error, and Ray's own log; -vv logs details",
            ),
        ] = 0,
        extension: Annotated[
            list[str] | None,
            typer.Option(
                metavar="FILE",
                is_eager=True,
                expose_value=False,
                callback=_load_extensions,
                rich_help_panel=_COMMON,
                help="load a Python file that registers methods, tasks, layouts or report sections; repeatable",
            ),
        ] = None,
    ) -> None: ...

    return [parameter for parameter in typer.main.get_command(app).params if parameter.name != "help"]


def _load_extensions(names: list[str] | None) -> None:
    extensions.load(names or [])


def _usage_message(error: Exception, command: Any) -> str:
    message = error.format_message().replace("Value error, ", "")  # type: ignore[attr-defined]
    option = getattr(error, "option_name", None)
    context = getattr(error, "ctx", None)
    if context is not None:
        command = context.command  # the subcommand that was given
    if option and not hasattr(error, "param"):
        words = [word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)]
        known = [word for word in words if word.startswith("-")]
        return f"unknown flag {option}{nearest(option, known)}"
    return message
