"""Each example of docs/your_model.md and docs/extending.md works: the command that the page gives loads its file."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ..dashboards import written
from .conftest import draw_photo
from .pages import ROOT, Page
from .test_commands import SECONDS, run_here, run_python


@pytest.mark.parametrize("page", ["your_model", "extending"])
def test_the_examples_work(reader: Path, page: str) -> None:
    """In a process of its own, since extensions stay registered."""
    for name in ("wren", "robin"):
        for number in range(10):
            draw_photo(reader / "flat" / f"{name}__{number}.jpg", np.array([90, 120, 150]), number)
    written.write(reader / "runs" / "demo", {"reference": {0: 0.5, 1: 0.6, 2: 0.4}, "a": {0: 0.6, 1: 0.7, 2: 0.6}})
    process = subprocess.run(
        [sys.executable, "-c", f"from tests.docs.test_extending import run_page; run_page('{page}')"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert process.returncode == 0, process.stdout + process.stderr


def run_page(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        from raysearch.data import synthetic

        small = synthetic.SyntheticSpec(classes=20, train_per_class=8, test_per_class=4)
        patch.setattr(synthetic, "SyntheticSpec", lambda **_: small)
        for block in Page(ROOT / "docs" / f"{name}.md").blocks:
            for command in run_python(block):
                print(command, flush=True)
                run_here(command)
