"""The commands of the documentation run, in the order of each page, in one directory with a reader's photographs.

The fast test plans each sweep by `--dry-run` and trains with tiny budgets. The slow one trains every sweep on Ray.
Blocks that are marked as needing a cluster or a GPU are only parsed, in `test_pages.py`.
"""

import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import ROOT, Block, Command, Page

PAGES = [
    Page(ROOT / name)
    for name in (
        "README.md",
        "docs/data.md",
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
                continue  # the slow test makes runs
            for command in run_python(block):
                run_here(command)
    finally:
        signal.signal(signal.SIGTERM, handler)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_commands_of_a_page_with_their_sweeps(page: Page, reader: Path) -> None:
    if page.path.name == "inference.md":
        run_process(Command(("sweep", "srem_ablation"), page.blocks[0]))
    for block in page.blocks:
        if not block.marked:
            for command in run_python(block):
                run_process(command)


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


def run_process(command: Command) -> None:
    """Run a command in a process of its own; sweeps train with one seed and a tiny budget."""
    name, *words = with_budget(command)
    if name == "sweep" and "--dry-run" not in words:
        words += ["--seeds", "1", *TRAINING, *(["--trials", "2"] if "search" in words[0] else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "raysearch", name, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    if "--live" in words:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert "http://127.0.0.1" in first, first
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode in ((0, 130) if "--live" in words else (0,)), f"{command}\n{output}"
