"""Pictures and model files of a user's class: what `inspect` returns becomes PNG files, and mistakes are one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raysearch.core import UserError
from raysearch.tasks.base import Worker
from raysearch.tasks.user.class_task import ClassTask


class Drawing:
    """A class whose pictures are its config."""

    steps = 1

    def __init__(self, config, seed, worker):
        self.pictures = config

    def advance(self):
        return {"loss": 0.5}

    def evaluate(self):
        return {"score": 1.0}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def inspect(self):
        return self.pictures

    def export(self, path):
        if "model" in self.pictures:
            path.write_bytes(self.pictures["model"])


class Figure:
    """What matplotlib's figures have."""

    def savefig(self, target, format):
        assert format == "png"
        Image.new("RGB", (5, 4), "red").save(target, "png")


def draw(pictures: object, tmp_path: Path, rank: int = 0) -> Path:
    """Run the class, and return the directory of its files."""
    out = tmp_path / "files"
    task = ClassTask(Drawing, "my.py:Drawing", pictures, (), 0, Worker(None, tmp_path, rank=rank, out=out))
    task.advance()
    assert task.evaluate() == {"score": 1.0}
    return out


GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)
COLORED = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


@pytest.mark.parametrize(
    ("picture", "pixels"),
    [
        (GRAY, GRAY),
        (GRAY[..., None], GRAY),
        (COLORED, COLORED),
        (torch.tensor(COLORED).permute(2, 0, 1), COLORED),
        (torch.tensor([[0.0, 0.5, 1.0]], requires_grad=True), [[0, 128, 255]]),
        (np.eye(2, dtype=bool), [[255, 0], [0, 255]]),
        (Image.fromarray(COLORED), COLORED),
        (Image.new("RGBA", (1, 2), (9, 8, 7, 255)), [[[9, 8, 7]], [[9, 8, 7]]]),
        (Figure(), np.broadcast_to([255, 0, 0], (4, 5, 3))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_picture_is_a_file_of_its_pixels(picture, pixels, tmp_path):
    out = draw({"mask of layer 2": picture}, tmp_path)
    assert [path.name for path in out.iterdir()] == ["mask of layer 2.png"]
    assert np.array_equal(np.asarray(Image.open(out / "mask of layer 2.png")), pixels)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([GRAY], "my.py:Drawing.inspect: expected {'name': picture}, not a list"),
        ({"../up": GRAY}, "'../up' cannot name a picture"),
        ({".hidden": GRAY}, "'.hidden' cannot name a picture"),
        ({"a": np.zeros((2, 2, 2, 2))}, "'a' is an array of shape (2, 2, 2, 2); give an array (H, W)"),
        ({"a": np.zeros((0, 2))}, "'a' is an array of shape (0, 2)"),
        ({"a": "a.png"}, "'a' is an array of shape ()"),
        ({"a": np.array([[0.0, 2.0]])}, "'a' has values from 0 to 2; scale floats"),
        ({"a": np.array([[0.0, np.nan]])}, "'a' has values from nan to nan"),
        ({"a": np.array([[0, 300]])}, "'a' is an array of int64; use uint8"),
    ],
)
def test_something_else_is_one_line_and_no_file(pictures, message, tmp_path):
    with pytest.raises(UserError) as caught:
        draw(pictures, tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "files").exists()


def test_only_rank_0_draws(tmp_path):
    assert not draw({"a": GRAY}, tmp_path, rank=1).exists()


def test_an_export_that_writes_nothing_is_one_line(tmp_path):
    path = tmp_path / "model.bin"
    with pytest.raises(UserError, match=r"my\.py:Drawing\.export wrote no file"):
        ClassTask(Drawing, "my.py:Drawing", {}, (), 0, Worker(None, tmp_path)).export(path)
    ClassTask(Drawing, "my.py:Drawing", {"model": b"weights"}, (), 0, Worker(None, tmp_path)).export(path)
    assert path.read_bytes() == b"weights"
