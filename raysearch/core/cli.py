"""Parts that all command lines share: their common options, their output, and how they end.

A wrong input, and a file or an output that cannot be written, is one line on standard error and exit code 2. Every
command takes `--verbose` and `--extension`. Commands print through `console`, `warn` and `print_json` only: these show
names from elsewhere safely, in every encoding.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from raysearch.core import extensions, sanitize
from raysearch.core.console import Console, TerminalColumn, TerminalTable, open_console, table_of_rows
from raysearch.core.errors import UserError, advice, nearest
from raysearch.core.interrupt import INTERRUPTED, StopSignals
from raysearch.core.logging import configure_logging

__all__ = [
    "Console",
    "TerminalColumn",
    "TerminalTable",
    "check_directory",
    "check_writable",
    "console",
    "examples",
    "exit_with_error",
    "print_json",
    "run",
    "table_of_rows",
    "warn",
]

_COMMON = "For every command"

_logger = logging.getLogger(__name__)


def run(
    app: typer.Typer,
    arguments: list[str] | None = None,
    name: str | None = None,
    on_error: Callable[[Sequence[str]], None] = lambda messages: None,
) -> NoReturn:
    """Run a typer app and exit: 0 for success, 1 for a failure, 2 for wrong input, 130 or 143 for a signal.

    SIGTERM and SIGUSR1 stop a command as Ctrl-C does. The exit code after SIGTERM is 143, after the others 130.

    Args:
        app: the commands.
        arguments: the words of the command line; None for those of this process.
        name: the program's name in its help; None for the name it was started by.
        on_error: called with the lines of a wrong input, before they are printed.
    """

    def _end(*messages: str) -> NoReturn:
        on_error(messages)
        exit_with_error(*messages)

    command = typer.main.get_command(app)
    _add_common_options(command)
    words = sys.argv[1:] if arguments is None else arguments
    _use_utf8_names(words)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the encoding lacks is escaped, for example in --help
            stream.reconfigure(errors="backslashreplace")
    signals = StopSignals()
    try:
        with signals.raised():
            code = command.main(args=words, prog_name=name, standalone_mode=False)
        sys.stdout.flush()  # here an error can still be reported
    except UserError as error:
        _end(*error.messages)
    except UnicodeEncodeError as error:  # a name that only the file system takes reached a library
        _logger.debug("a text cannot be encoded", exc_info=True)
        _end(f"'{error.object}' is not UTF-8; rename the file or directory")
    except KeyboardInterrupt:
        sys.exit(signals.exit_code)
    except BrokenPipeError:  # the reader of the pipe has left; click and rich end in the same way
        _discard_output()
        sys.exit(1)
    except OSError as error:
        _logger.debug("the command ended with an error of the operating system", exc_info=True)
        _discard_output()
        _end(_os_error_message(error))
    except Exception as error:
        # Some releases of typer have their own copy of click, so click's errors are recognized by this method.
        if not hasattr(error, "format_message"):
            raise
        _end(_usage_message(error, command))
    if code == INTERRUPTED:  # typer turns KeyboardInterrupt into this code
        code = signals.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def console(stderr: bool = False) -> Console:
    """Return the console for results, or for messages and progress bars if `stderr` is true."""
    return open_console(stderr)


def warn(message: str) -> None:
    """Print one line to standard error."""
    print(sanitize.one_line(" ".join(message.split())), file=sys.stderr)


def print_json(value: Any, indent: int | None = 1) -> None:
    """Print a value as JSON for other programs: UTF-8, or ASCII if the output has another encoding.

    Control characters and bytes of names that are not UTF-8 are written as JSON's own escapes.

    Args:
        value: of plain data.
        indent: spaces per level; None prints one line.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=not sanitize.is_utf8(getattr(sys.stdout, "encoding", None)))
    print(sanitize.escape_controls(text))  # outside of strings JSON has no control characters


def absolute(location: str) -> str:
    """Return a path that means the same place in every process; `~` is the home directory, and a URI stays as it is.

    >>> absolute("s3://bucket/shards")
    's3://bucket/shards'
    """
    return location if "://" in location else os.path.abspath(os.path.expanduser(location))


def check_writable(path: Path, name: str) -> None:
    """Check before any work that a file can be written at the end.

    Args:
        path: the file.
        name: the argument that gave it.

    Raises:
        UserError: it is a directory, or its directory cannot be written.
    """
    sanitize.check_utf8(str(path))
    is_device = path.exists() and not path.is_file()
    if path.is_dir() or not os.access(path if is_device else path.parent, os.W_OK):
        raise UserError(f"cannot write {path}: {name} must be a file in an existing, writable directory")


def check_directory(path: Path, flag: str) -> None:
    """Check before any work that files can be written into a directory, which need not exist yet.

    Args:
        path: the directory.
        flag: the option that names another one.

    Raises:
        UserError: it cannot be written to.
    """
    sanitize.check_utf8(str(path))
    nearest_existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    if not nearest_existing.is_dir() or not os.access(nearest_existing, os.W_OK | os.X_OK):
        raise UserError(f"cannot write into '{path}'; name a writable directory with {flag}")


def exit_with_error(*messages: str) -> NoReturn:
    """Print a line per message to standard error and exit with code 2."""
    for message in messages:
        warn(f"error: {message}")
    sys.exit(2)


def examples(*lines: str) -> str:
    """Return the end of a command's help: the lines of a shell, one below the other.

    >>> examples("raysearch report runs/demo")
    'Examples:\\n\\nraysearch report runs/demo'
    """
    return "\n\n".join(["Examples:", *lines])


def _use_utf8_names(words: list[str]) -> None:
    """Start this program again in Python's UTF-8 mode if file names have another encoding, as with PYTHONUTF8=0.

    Names in data sets and runs are UTF-8, and such a process could not open them. Only a program's own command line
    is started again, not a command that another program runs.
    """
    if sanitize.is_utf8(sys.getfilesystemencoding()) or not words or sys.argv[-len(words) :] != words:
        return
    output = getattr(sys.stdout, "encoding", None) or "utf-8"
    environment = os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": f"{output}:backslashreplace"}
    arguments = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, environment)


def _discard_output() -> None:
    """Send what is still buffered nowhere; Python would try to write it again at its end, with a traceback."""
    try:
        target = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file
        return
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), target)


def _os_error_message(error: OSError) -> str:
    reason = error.strerror or str(error)
    place = "" if error.filename is None else f": '{os.fsdecode(error.filename)}'"
    return f"{reason}{place}{advice(error)}"


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
    if option and hasattr(error, "possibilities"):  # otherwise a known flag lacks its value
        words = [word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)]
        known = [word for word in words if word.startswith("-")]
        return f"unknown flag {option}{nearest(option, known)}"
    return message
