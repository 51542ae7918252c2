"""`raysearch prune`: what gallery and export need stays, and unfinished cells can go on."""

import json
from pathlib import Path

import pytest
import torch

from raysearch import prune
from raysearch.runs import results
from raysearch.runs.checkpoints import Checkpoints

from .commands import run_app
from .dashboards import written

# The medians by hand: seed 2 of the reference, seed 1 of the others.
VALUES = {"reference": {0: 0.60, 1: 0.62, 2: 0.61}, "wide": {0: 0.70, 1: 0.71, 2: 0.72}, "broken": {0: None}}
MEDIANS = {("reference", 2), ("wide", 1)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a last and a better earlier state of each cell, of 4 kB each."""
    run = written.write(tmp_path / "run", VALUES, cells={"history": "[{}]"})
    for cell in results.read_study(run).cells:
        states = Checkpoints(str(run / "checkpoints"), cell.cell)
        states.count_attempt()
        states.save({"w": torch.zeros(1000), "step": 1}, best=True)
        states.save({"w": torch.zeros(1000), "step": 2}, best=False)
    return run


def states(run: Path) -> set[tuple[str, int, str]]:
    """Return the variant, seed and name of each file of a state."""
    names = {cell.cell: (cell.variant, cell.seed) for cell in results.read_study(run).cells}
    return {(*names[path.parent.name], path.name) for path in (run / "checkpoints").rglob("*.pt")}


FAILED = {("broken", 0, "best.pt"), ("broken", 0, "newest.pt")}


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ((), MEDIANS),
        (("--keep", "best"), MEDIANS),
        (("--keep", "last"), {(name, seed) for name in ("reference", "wide") for seed in range(3)}),
        (("--keep", "none"), set()),
    ],
)
def test_what_stays(run: Path, words: tuple[str, ...], kept: set[tuple[str, int]]) -> None:
    before = results.load(run)
    assert run_app(prune.app, run, *words) == 0
    assert states(run) == FAILED | {(name, seed, "newest.pt") for name, seed in kept}
    assert results.load(run).equals(before)


def test_a_search_keeps_its_reference_and_its_best_config(run: Path) -> None:
    study = results.read_study(run)
    results.write_study(run, study.changed({"kind": "search", "best": [{"variant": "reference"}]}))
    assert run_app(prune.app, run) == 0
    assert states(run) == FAILED | {("reference", 2, "newest.pt")}


def test_a_variant_whose_cells_are_damaged_keeps_its_last_states(tmp_path: Path) -> None:
    run = written.write(tmp_path / "run", {"reference": {0: 0.6, 1: 0.7}}, cells={"history": "["})
    for cell in results.read_study(run).cells:
        Checkpoints(str(run / "checkpoints"), cell.cell).save({"step": 1}, best=False)
    assert run_app(prune.app, run) == 0
    assert states(run) == {("reference", 0, "newest.pt"), ("reference", 1, "newest.pt")}


def test_a_dry_run_removes_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = states(run)
    assert run_app(prune.app, run, "--keep", "none", "--dry-run") == 0
    assert states(run) == before
    assert "would remove 12 checkpoints of 6 cells" in capsys.readouterr().out


def test_a_run_from_elsewhere_names_no_other_place(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "models"
    (other / "mine").mkdir(parents=True)
    model = other / "mine" / "newest.pt"
    model.write_bytes(b"mine")
    study = json.loads((run / "study.json").read_text())
    for entry, cell in zip(study["cells"], ("../../models/mine", "linked"), strict=False):
        (run / "cells" / f"{entry['cell']}.parquet").unlink()
        entry["cell"] = cell
    (run / "study.json").write_text(json.dumps(study))
    (run / "checkpoints" / "linked").symlink_to(other / "mine")
    assert run_app(prune.app, run, "--keep", "none") == 0
    assert model.read_bytes() == b"mine"
