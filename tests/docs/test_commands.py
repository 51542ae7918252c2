"""The commands of the documentation run, in the order of each page, in one directory with a reader's photographs.

The test plans each sweep by `--dry-run` and trains with tiny budgets, in this process. `test_walk.py` is slow: it runs
every line in a real shell. Blocks that are marked as needing a cluster or a GPU are only parsed, in `test_pages.py`.
"""

import re
import runpy
import signal
import sys
from pathlib import Path

import pytest

from .pages import ROOT, Block, Command, Page

PAGES = [
    Page(ROOT / name)
    for name in (
        "README.md",
        "docs/data.md",
        "docs/embedded_data.md",
        "docs/studies.md",
        "docs/searches.md",
        "docs/inference.md",
        "docs/reports.md",
        "docs/reliability.md",
    )
]
TRAINING = ["--set", "train.iterations=1", "--set", "train.epochs=1"]
BUDGETS = {
    "retrieval": TRAINING,
    "fewshot": ["--set", "train.epochs=1", "--set", "train.episodes=4", "--episodes", "4"],
}
SECONDS = 900.0  # for one command on a busy machine


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_commands_of_a_page(page: Page, reader: Path, small_birds: None) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    try:
        for block in page.blocks:
            if block.marked or "runs/" in block.text.replace("--out runs/", ""):
                continue  # the walk makes runs
            for command in run_python(block):
                run_here(command)
    finally:
        signal.signal(signal.SIGTERM, handler)


def run_python(block: Block) -> list[Command]:
    """Run a Python block, or save it under the name that it gives; return the commands of a shell block."""
    if block.language == "python":
        if block.file_name:
            Path(block.file_name).write_text(block.text)
        elif not re.search(r"^study = ", block.text, re.MULTILINE):
            exec(compile(block.text, str(block), "exec"), {})
        return []
    return [] if block.language == "console" else block.commands


def with_budget(command: Command) -> list[str]:
    name, *words = command.words
    if name == "train" and "--settings" not in words:
        return [name, *words, *BUDGETS.get(words[0], [])]
    return [name, *words]


def run_here(command: Command) -> None:
    """Run a command in this process; a sweep is only planned."""
    name, *words = with_budget(command)
    if name == "sweep" and "--dry-run" not in words:
        words.append("--dry-run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"raysearch {name}", *words])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"raysearch.{name}", run_name="__main__")
    assert ended.value.code in (0, None), command
