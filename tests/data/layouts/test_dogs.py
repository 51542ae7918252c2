"""Stanford Dogs: Matlab's lists, annotations with several dogs and wrong names in them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from raysearch.core import UserError
from raysearch.data import layouts

from .trees import all_red, picture, put, read, reasons, rows, written

CHIHUAHUA, BASSET = "n02085620-Chihuahua", "n02088238-basset"
DOG = "<object><name>dog</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def lists(path: Path, files: Sequence[str], labels: Sequence[int]) -> None:
    """A list as the release has it: a cell array of one column, labels as doubles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.array(files, dtype=object).reshape(-1, 1)
    annotations = np.array([file.removesuffix(".jpg") for file in files], dtype=object).reshape(-1, 1)
    column = np.array(labels, dtype=float).reshape(-1, 1)
    savemat(path, {"file_list": cells, "annotation_list": annotations, "labels": column})


def tree(root: Path, folder: str = "") -> Path:
    lists(root / folder / "train_list.mat", [f"{CHIHUAHUA}/n_1.jpg", f"{BASSET}/n_3.jpg"], [1, 2])
    lists(root / folder / "test_list.mat", [f"{CHIHUAHUA}/n_2.jpg"], [1])
    head = "<annotation><folder>%s</folder><filename>%s</filename>"
    return put(
        root,
        {
            "images.tar": b"\0" * 1024,
            f"Images/{CHIHUAHUA}/n_1.jpg": picture(format="PNG", red=(2, 1, 11, 7)),
            f"Images/{CHIHUAHUA}/n_2.jpg": picture(),
            f"Images/{BASSET}/n_3.jpg": picture(),
            f"Annotation/{CHIHUAHUA}/n_1": head + DOG.format(2, 3, 6, 7) + DOG.format(4, 1, 11, 5) + "</annotation>",
            f"Annotation/{CHIHUAHUA}/n_2": head + DOG.format(0, 0, 12, 8) + "</annotation>",
            f"Annotation/{BASSET}/n_3": head,
        },
    )


@pytest.mark.parametrize("folder", ["", "lists"])
def test_samples(folder: str, tmp_path: Path) -> None:
    src = tree(tmp_path / "src", folder)
    found = read("dogs", src)
    assert rows(found) == {
        (f"Images/{CHIHUAHUA}/n_1.jpg", CHIHUAHUA, "train"),
        (f"Images/{CHIHUAHUA}/n_2.jpg", CHIHUAHUA, "test"),
        (f"Images/{BASSET}/n_3.jpg", BASSET, "train"),
    }
    assert written(found, tmp_path / "out").classes == (CHIHUAHUA, BASSET)
    assert layouts.detect_layout(str(src))[0].name == "dogs"


def test_a_box_holds_all_dogs(tmp_path: Path) -> None:
    src = tree(tmp_path)
    find_boxes = layouts.LAYOUTS["dogs"].boxes
    assert find_boxes is not None
    boxes = find_boxes(str(src))
    source = f"Images/{CHIHUAHUA}/n_1.jpg"
    assert all_red((src / source).read_bytes(), boxes[source], (9, 6))
    assert f"Images/{BASSET}/n_3.jpg" not in boxes  # its annotation broke off


def test_wrong_lists(tmp_path: Path) -> None:
    src = tree(tmp_path)
    lists(src / "test_list.mat", [f"{CHIHUAHUA}/n_2.jpg", f"{CHIHUAHUA}/n_4.jpg", f"{BASSET}/n_5.jpg"], [2, 1, 2])
    put(src, {f"Images/{BASSET}/n_5.jpg": picture()})
    assert reasons(read("dogs", src)) == {
        f"Images/{CHIHUAHUA}/n_2.jpg": f"its label is 2, which is {BASSET}; its folder says otherwise",
        f"Images/{CHIHUAHUA}/n_4.jpg": "listed, and there is no such file",
    }
    lists(src / "test_list.mat", ["a/1.jpg", "a/2.jpg"], [1])
    with pytest.raises(UserError, match=r"test_list.mat has 2 files and 1 labels"):
        read("dogs", src)
    savemat(src / "test_list.mat", {"labels": [1]})
    with pytest.raises(UserError, match=r"test_list.mat has no variable 'file_list'; it needs file_list, labels"):
        read("dogs", src)
    put(src, {"test_list.mat": "<html>404</html>"})
    with pytest.raises(UserError, match=r"test_list.mat cannot be read as a .mat file"):
        read("dogs", src)
