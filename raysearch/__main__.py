"""The command `raysearch`: `raysearch sweep STUDY` does what `python -m raysearch.sweep STUDY` does."""

import runpy
import sys
from typing import NoReturn

import raysearch
from raysearch.core import cli, nearest

COMMANDS = {
    "sweep": "Run a study, or continue it, and write its report.",
    "report": "Write a run's report again, compare runs, or follow a run that is going on.",
    "prune": "Remove checkpoints of a run that nothing needs any more.",
    "train": "Train one config on this machine, without Ray.",
    "new": "Write a study file of your own to begin with.",
    "ingest": "Turn a folder or a public data set into shards.",
    "retrieve": "Index images with a trained model, and find similar ones.",
    "classify": "Name images by a few examples of each class.",
    "cluster": "Fill in a cluster file, and check it before it costs money.",
}


def main() -> NoReturn:
    """Run the command that the first argument names; print the list of commands when there is none."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        print(raysearch.__version__)
        sys.exit(0)
    if words[0] not in COMMANDS:
        cli.exit_with_error(f"unknown command '{words[0]}'{nearest(words[0], COMMANDS)}")
    sys.argv = [f"raysearch {words[0]}", *words[1:]]
    runpy.run_module(f"raysearch.{words[0]}", run_name="__main__", alter_sys=True)
    sys.exit(0)


def _usage() -> str:
    lines = [f"  {name:<10}{summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: raysearch COMMAND [ARGUMENTS]",
            "",
            *lines,
            "",
            "`raysearch COMMAND --help` lists a command's options, with examples.",
            "`raysearch sweep --list` lists the studies.",
        ]
    )


if __name__ == "__main__":
    main()
