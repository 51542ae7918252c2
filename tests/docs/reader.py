"""A person who follows the documentation in one directory and a real shell, with a checkout and photographs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ..dashboards import written
from .conftest import prepare
from .pages import ROOT, Block
from .test_commands import SECONDS

ENVIRONMENT = "python3 -m venv .venv && .venv/bin/python -m pip install . && .venv/bin/python"


class Reader:
    """A person with a checkout, photographs and a terminal.

    Args:
        directory: becomes the checkout.
        home: the home directory.

    Attributes:
        output: of the last block.
    """

    def __init__(self, directory: Path, home: Path) -> None:
        self.output = ""
        self.directory = directory
        self.log = directory.parent / "log.jsonl"
        copy_checkout(directory)
        prepare(directory)
        for kind in ("wren", "robin"):
            for number in range(10):
                shutil.copy(directory / "photos" / kind / f"{number}.jpg", copied(directory, kind, number))
        written.write(
            directory / "runs" / "demo", {"reference": {0: 0.5, 1: 0.6, 2: 0.4}, "a": {0: 0.6, 1: 0.7, 2: 0.6}}
        )
        programs = directory.parent / "bin"
        programs.mkdir()
        for name in ("raysearch", "python"):
            program = programs / name
            shim = ROOT / "tests" / "docs" / "reader_shim.py"
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{shim}" "$0" "$@"\n')
            program.chmod(0o755)
        self.environment = {
            "HOME": str(home),
            "PYTHONPATH": str(directory),  # as if it were installed
            "PATH": f"{programs}:{os.environ['PATH']}",
            "READER_PYTHON": sys.executable,
            "READER_LOG": str(self.log),
            "PYTHONUNBUFFERED": "1",
            "LANG": "C.UTF-8",
        }

    def follow(self, block: Block) -> list[str]:
        """Do what a block asks for; return what went wrong."""
        if block.language == "python":
            return self._python(block)
        if block.language == "bash" or (block.language == "console" and ENVIRONMENT in block.text):
            return self.shell(block.text.replace(ENVIRONMENT, "python"))
        return []

    def shell(self, text: str) -> list[str]:
        """Run the lines of a block in bash; return what went wrong."""
        self.log.write_text("")
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", text],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.output = done.stdout
        faults = self.faults()
        if done.returncode and not faults:
            faults = [f"exit code {done.returncode}\n{done.stdout[-4000:]}"]
        if not self.environment.get("READER_SHARDS"):  # the name of the run is that of the embedded data set
            pages = re.findall(r"runs/[\w./-]+\.html", text)
            faults += [f"no {page}" for page in pages if not faults and not (self.directory / page).exists()]
        return faults

    def faults(self) -> list[str]:
        """Return what went wrong with the commands of raysearch since the last block began."""
        entries = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [f"{entry['words']}: {entry['faults']}\n{entry['output']}" for entry in entries if entry["faults"]]

    def _python(self, block: Block) -> list[str]:
        """Save a file that the block names; plan a study; run anything else."""
        path = self.directory / (block.file_name or "block.py")
        path.write_text(block.text)
        if block.file_name:
            return []
        if re.search(r"^study = ", block.text, re.MULTILINE):
            return self.shell("raysearch sweep block.py --dry-run")
        return self.shell("python block.py")


def copied(directory: Path, kind: str, number: int) -> Path:
    """Return the place of a photograph in a folder without classes."""
    (directory / "flat").mkdir(exist_ok=True)
    return directory / "flat" / f"{kind}__{number}.jpg"


def copy_checkout(directory: Path) -> None:
    """Copy the files of the repository that git knows or would take."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("tests/fixtures"):
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
