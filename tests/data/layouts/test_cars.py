"""Stanford Cars: both releases say the same, names keep their slashes, boxes count from one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from raysearch.core import UserError
from raysearch.data import layouts

from .trees import all_red, picture, put, read, reasons, written

RAM, AUDI, HUMMER = "Ram C/V Cargo Van Minivan 2012", "Audi 100 Sedan 1994", "AM General Hummer SUV 2000"
NAMES = [HUMMER, RAM, AUDI]  # in no sorted order
BOX = (3, 2, 10, 6)  # x1, y1, x2, y2


def annotations(fields: Mapping[str, Sequence[object]]) -> np.ndarray:
    """A struct array of Matlab, 1 x n."""
    array = np.empty((1, len(next(iter(fields.values())))), dtype=[(field, object) for field in fields])
    for field, values in fields.items():
        array[0][field] = values
    return array


def marks(number: int) -> dict[str, Sequence[object]]:
    boxes: dict[str, Sequence[object]] = {}
    for edge, value in zip(("x1", "y1", "x2", "y2"), BOX, strict=True):
        boxes[f"bbox_{edge}"] = [np.uint8(value)] * number
    return boxes


def names() -> np.ndarray:
    return np.array(NAMES, dtype=object).reshape(1, -1)


def first(root: Path, test: str = "cars_test_annos_withlabels.mat") -> Path:
    """The release with a devkit; `test` is where the labels of test lie."""
    photo = picture(format="PNG", red=(2, 1, 10, 6))
    put(root, {f"cars_train/{n:05d}.jpg": photo for n in (1, 2)} | {"cars_test/00001.jpg": picture("L")})
    (root / "devkit").mkdir()
    savemat(root / "devkit/cars_meta.mat", {"class_names": names()})
    train: dict[str, Sequence[object]] = {**marks(2), "class": [3, 2], "fname": ["00001.jpg", "00002.jpg"]}
    savemat(root / "devkit/cars_train_annos.mat", {"annotations": annotations(train)})
    savemat(root / "devkit/cars_test_annos.mat", {"annotations": annotations({**marks(1), "fname": ["00001.jpg"]})})
    savemat(root / test, {"annotations": annotations({**marks(1), "class": [2], "fname": ["00001.jpg"]})})
    return root


def second(root: Path) -> Path:
    """The release with one folder and one file."""
    put(root, {f"car_ims/00000{n}.jpg": picture(format="PNG", red=(2, 1, 10, 6)) for n in (1, 2, 3)})
    paths = [f"car_ims/00000{n}.jpg" for n in (1, 2, 3)]
    said: dict[str, Sequence[object]] = {"relative_im_path": paths, **marks(3), "class": [3, 2, 2], "test": [0, 0, 1]}
    savemat(root / "cars_annos.mat", {"annotations": annotations(said), "class_names": names()})
    return root


@pytest.mark.parametrize("release", ["first", "labels in devkit", "second"])
def test_samples(release: str, tmp_path: Path) -> None:
    src = tmp_path / "src"
    if release == "second":
        second(src)
    else:
        first(src, *(["devkit/cars_test_annos_withlabels.mat"] if "devkit" in release else []))
    found = read("cars", src)
    assert [(sample.label, sample.split) for sample in found] == [(AUDI, "train"), (RAM, "train"), (RAM, "test")]
    assert (found.classes, found.corrupt) == ((RAM, AUDI), ())
    assert written(found, tmp_path / "out").counts == {"train": (1, 1), "test": (1, 0)}
    assert layouts.detect_layout(str(src))[0].name == "cars"


@pytest.mark.parametrize("release", [first, second])
def test_boxes(release: Callable[[Path], Path], tmp_path: Path) -> None:
    src = release(tmp_path)
    find_boxes = layouts.LAYOUTS["cars"].boxes
    assert find_boxes is not None
    boxes = find_boxes(str(src))
    assert boxes.keys() == {sample.source for sample in read("cars", src)}
    source = min(source for source in boxes if "test" not in source)
    assert all_red((src / source).read_bytes(), boxes[source], (8, 5))


def test_a_test_file_without_labels_does_not_do(tmp_path: Path) -> None:
    src = first(tmp_path)
    (src / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(UserError, match=r"withlabels.mat is missing; devkit/cars_test_annos.mat has no labels"):
        read("cars", src)
    (src / "devkit/cars_test_annos.mat").rename(src / "cars_test_annos_withlabels.mat")
    with pytest.raises(UserError, match=r"withlabels.mat: annotations without 'class'; they need fname, class"):
        read("cars", src)


def test_a_class_without_a_name(tmp_path: Path) -> None:
    src = first(tmp_path)
    savemat(
        src / "devkit/cars_train_annos.mat",
        {"annotations": annotations({**marks(1), "class": [4], "fname": ["00001.jpg"]})},
    )
    assert reasons(read("cars", src)) == {
        "cars_train/00001.jpg": "its class is 4, and there are names for 1 to 3",
        "cars_train/00002.jpg": "in no list of the data set",
    }
