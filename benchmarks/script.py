"""What every benchmark script does: read its flags, run a part of itself in another process, print its figures."""

import argparse
import json
import subprocess
import sys
from typing import Any

HIDDEN = argparse.SUPPRESS  # help of a flag by which a script starts itself


def make_parser(doc: str | None, quick: str) -> argparse.ArgumentParser:
    """Return a parser with `--quick`, described by the first line of the script's docstring.

    Args:
        doc: the docstring.
        quick: what is smaller with `--quick`.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    return parser


def print_figures(figures: Any) -> None:
    """Print figures as one line of JSON, the last of a script."""
    print(json.dumps(figures), flush=True)


def run_again(file: str, flags: list[str], what: str) -> Any:
    """Run a script in a process of its own, and return the figures of its last line; exit if it fails.

    Args:
        file: `__file__` of the script.
        flags: its flags.
        what: what is run, for the error.
    """
    done = subprocess.run([sys.executable, file, *flags], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{what}: the process failed:\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])
