"""CUB for training and NABirds for testing: every image of both, under its own folder, with no class in two parts."""

import shutil
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import class_splits, layouts
from raysearch.data.evaluation_limits import DataCounts

from . import test_cub, test_nabirds
from .trees import read, rows, written


def tree(root: Path) -> Path:
    test_cub.tree(root)
    test_nabirds.tree(root)
    return root


def test_every_image_of_both_is_in_the_part_of_its_data_set(tmp_path: Path) -> None:
    src = tree(tmp_path / "src")
    found = read("cub_to_nabirds", src)
    alone = {folder: read(name, src / folder) for name, folder in (("cub", "CUB_200_2011"), ("nabirds", "nabirds"))}
    assert rows(found) == {
        (f"{folder}/{source}", label, part)
        for folder, part in (("CUB_200_2011", "train"), ("nabirds", "test"))
        for source, label, _ in rows(alone[folder])
    }
    assert found.classes == (*(alone["CUB_200_2011"].classes or ()), *(alone["nabirds"].classes or ()))
    manifest = written(found, tmp_path / "out")
    assert manifest.classes == found.classes
    by_part = {part: {label for _, label, other in rows(found) if other == part} for part in ("train", "test")}
    assert not by_part["train"] & by_part["test"]


def test_the_classes_of_nabirds_test_and_those_of_cub_train_or_validate() -> None:
    classes = [*(f"{number:03}.cub" for number in range(20)), *(f"{number:04}.nabirds" for number in range(10))]
    counts = {"train": [5] * 20 + [0] * 10, "test": [0] * 20 + [5] * 10}
    parts = class_splits.divide_classes("auto", DataCounts("both", classes, counts)).parts
    assert {name for name, part in parts.items() if part == "test"} == set(classes[20:])
    assert {part for name, part in parts.items() if name.endswith("cub")} == {"train", "val"}


@pytest.mark.parametrize(("folder", "title"), [("CUB_200_2011", "CUB-200-2011"), ("nabirds", "NABirds")])
def test_a_missing_release_is_named(tmp_path: Path, folder: str, title: str) -> None:
    src = tree(tmp_path / "src")
    shutil.rmtree(src / folder)
    with pytest.raises(UserError, match=folder):
        read("cub_to_nabirds", src)
    with pytest.raises(UserError, match="two data sets"):
        layouts.LAYOUTS["cub_to_nabirds"].read(str(src), 0.2)
