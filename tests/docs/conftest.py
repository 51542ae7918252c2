"""The directory of a reader who follows the documentation, and a small embedded data set."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from raysearch.data import synthetic

# Four parts of five classes: enough for episodes of five ways in each part of a split.
CLASSES = (
    *("crow", "dove", "duck", "eagle", "falcon", "finch", "goose", "grebe", "gull", "heron"),
    *("jay", "kite", "lark", "owl", "robin", "rook", "swan", "swift", "tern", "wren"),
)
PER_CLASS = 12


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a reader who has photographs, some of them as examples of two classes."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(directory: Path) -> None:
    """Draw photographs in folders of classes, a few examples of two classes, and loose ones; write weights."""
    torch.save(torchvision.models.squeezenet1_1().state_dict(), directory / "squeezenet1_1.pth")
    colors = np.random.default_rng(0).integers(40, 215, (len(CLASSES), 3))
    for name, color in zip(CLASSES, colors, strict=True):
        for number in range(PER_CLASS):
            draw_photo(directory / "photos" / name / f"{number}.jpg", color, number)
    for name in ("wren", "robin"):
        for number in range(3):
            draw_photo(directory / "support" / name / f"{number}.jpg", colors[CLASSES.index(name)], 100 + number)
    for number, name in enumerate(("one", "a", "b", "c")):
        draw_photo(directory / f"{name}.jpg", colors[number], 200 + number)


def draw_photo(path: Path, color: np.ndarray, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-40, 41, (64, 80, 3))
    Image.fromarray((color + noise).astype(np.uint8)).save(path)


@pytest.fixture
def small_birds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller embedded data set, with enough classes for episodes of five ways in each part."""
    spec = functools.partial(synthetic.SyntheticSpec, classes=20, train_per_class=8, test_per_class=4)
    monkeypatch.setattr(synthetic, "SyntheticSpec", spec)
