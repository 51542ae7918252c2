"""Photographs and ImageNet weights: skipped unless RAYSEARCH_DATA names the directory that holds them."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from raysearch.data import shards

DATA = Path(os.environ.get("RAYSEARCH_DATA", "/nonexistent"))
WEIGHTS = DATA / "weights" / "squeezenet1_1-imagenet-features.pth"

if not WEIGHTS.is_file():
    pytest.skip("RAYSEARCH_DATA names no directory of real images", allow_module_level=True)


def run(module: str, *given: str) -> str:
    command = [sys.executable, "-m", f"raysearch.{module}", *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CUB-200-2011's 39 species of the larger families, 96 px, as shards."""
    root = tmp_path_factory.mktemp("birds")
    with tarfile.open(DATA / "cub39-96.tar") as tar:
        tar.extractall(root, filter="data")
    run("ingest", "folder", str(root / "cub39-96"), str(root / "shards"), "--verify")
    return root / "shards"


def test_ingest_keeps_every_photograph(birds: Path) -> None:
    manifest = shards.read_manifest(birds)
    assert manifest.images == 2323
    assert len(manifest.classes) == 39
    assert {split: sum(counts) for split, counts in manifest.counts.items()} == {"train": 1154, "test": 1169}
    assert manifest.corrupt == ()
    assert manifest.width == manifest.height == (96, 96)


def test_hashing_on_a_frozen_trunk_retrieves_species(birds: Path) -> None:
    settings = {
        "data.side": 96,
        "data.validation": 0,
        "model.backbone": "squeezenet1_1",
        "model.weights": str(WEIGHTS),
        "model.frozen": "true",
        "model.standardise": "true",
        "hash.bits": 24,
        "adsh.bit_norm": "true",
        "esrl.positive": 0,
        "esrl.erased": 0,
        "train.lr": 3e-3,
        "train.hash_lr": 1,
        "train.samples": 2000,
        "train.iterations": 5,
        "train.epochs": 5,
        "train.milestones": "[]",
    }
    given = [word for path, value in settings.items() for word in ("--set", f"{path}={value}")]
    outcome = json.loads(run("train", "retrieval", "--data", str(birds), *given).splitlines()[-1])
    assert 0.55 < outcome["map"] < 0.75
