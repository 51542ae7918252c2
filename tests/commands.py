"""Commands as users run them: in a process of their own, or in this one."""

import os
import subprocess
import sys

import pytest
import typer

from raysearch.core import cli


def run_python(options: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python with options such as `-m raysearch.retrieve`, and with the arguments of the program."""
    command = [sys.executable, *options, *map(str, arguments)]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


def run_app(app: typer.Typer, *arguments: object) -> int | str | None:
    """Run a command in this process and return its exit code."""
    with pytest.raises(SystemExit) as exit_info:
        cli.run(app, [str(argument) for argument in arguments])
    return exit_info.value.code
