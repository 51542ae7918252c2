"""auto: one answer with its reason, or one line that says what there is to choose from."""

from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import layouts
from raysearch.data.layouts import LAYOUTS, detect_layout

from . import test_cub, test_dogs
from .test_hf_parquet import parquet
from .test_webdataset import tar
from .trees import picture, put

LISTS = {"split/train.csv": "filename,label\n1.jpg,a\n", "split/test.csv": "filename,label\n2.jpg,b\n"}


@pytest.mark.parametrize(
    ("files", "name", "why"),
    [
        (["a/1.jpg", "b/1.jpg"], "folder", "2 folders of images and no lists"),
        (["train/a/1.jpg", "test/a/1.jpg"], "folder", "class folders in train/, test/, which share classes"),
        (["train/a/1.jpg"], "folder", "class folders in train/"),
        (["train/a/1.jpg", "test/b/1.jpg"], "fewshot", "folders of different classes in train/, test/"),
        (
            ["meta-train/a/1.jpg", "meta-val/b/1.jpg"],
            "fewshot",
            "folders of different classes in meta-train/, meta-val/",
        ),
        (["split.csv", "x/1.jpg"], "folder", "split.csv"),
    ],
)
def test_generic_layouts(files: list[str], name: str, why: str, tmp_path: Path) -> None:
    layout, reason = detect_layout(str(put(tmp_path, dict.fromkeys(files, ""))))
    assert (layout.name, reason) == (name, why)


def test_lists_of_images(tmp_path: Path) -> None:
    layout, reason = detect_layout(str(put(tmp_path, LISTS)))
    assert (layout.name, reason) == ("fewshot", "lists of images split/train.csv, split/test.csv")


def test_two_that_fit_are_for_the_user(tmp_path: Path) -> None:
    src = put(test_cub.tree(tmp_path) / "CUB_200_2011", LISTS)
    with pytest.raises(UserError, match=r"may be cub \(images.txt, .*\); fewshot \(lists of .*\); name one of them in"):
        detect_layout(str(src))
    assert layouts.find_layout("cub", str(src)) == (LAYOUTS["cub"], "")  # a named layout is not checked


def test_archives_that_somebody_left_there(tmp_path: Path) -> None:
    src = test_dogs.tree(tmp_path / "dogs")
    tar(src / "annotation.tar", {"Annotation/a/1": b"<annotation/>", "Annotation/a/2": b""})
    tar(src / "photos.tar", {"a/1.jpg": picture()})
    assert detect_layout(str(src))[0].name == "dogs"
    tar(src / "more.tar", {"1.jpg": picture(), "1.cls": b"0"})
    with pytest.raises(UserError, match=r"may be dogs .*; webdataset \(images with .cls or .json in more.tar\)"):
        detect_layout(str(src))


def test_none_that_fits_says_what_was_looked_for(tmp_path: Path) -> None:
    src = put(tmp_path / "src", {"notes.txt": "", "1.jpg": picture()})
    with pytest.raises(
        UserError, match=r"no layout that auto knows\. It looked for: aircraft \(variants\.txt \+ "
    ) as raised:
        detect_layout(str(src))
    assert all(f"{name} (" in str(raised.value) for name in LAYOUTS if name not in ("synthetic", "cub_to_nabirds"))
    parquet(src / "manifest.json", [], [])
    with pytest.raises(UserError, match="is a data set of shards already"):
        detect_layout(str(src))
    with pytest.raises(UserError, match="does not exist"):
        detect_layout(str(src / "nowhere"))
    with pytest.raises(UserError, match="unknown layout 'atuo'; did you mean 'auto'"):
        layouts.find_layout("atuo", str(src))


@pytest.mark.parametrize(
    ("files", "folder"),
    [
        (["photos/a/1.jpg", "photos/b/1.jpg", "notes.txt"], "photos"),
        (["dataset/Train/a/1.jpg", "dataset/Test/a/1.jpg"], "dataset"),
        (["a/b/train/a/1.jpg", "a/b/test/c/1.jpg"], "a/b"),
        (["x/split.csv", "x/1.jpg"], "x"),
    ],
)
def test_a_data_set_that_begins_deeper_is_named(files: list[str], folder: str, tmp_path: Path) -> None:
    src = put(tmp_path / "src", dict.fromkeys(files, ""))
    with pytest.raises(UserError, match=rf"a folder in it has\. Use it as SRC: {src / folder} \(") as raised:
        detect_layout(str(src))
    assert len(str(raised.value)) < 400
    assert detect_layout(str(src / folder))


def test_an_empty_folder_and_lists_of_a_release(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is an empty folder"):
        detect_layout(str(tmp_path))
    put(tmp_path, {"wren/1.jpg": "", "owl/1.jpg": "", "annos.mat": ""})
    with pytest.raises(UserError, match=r"holds annos\.mat, a list of an official release.*, or folder if its folders"):
        detect_layout(str(tmp_path))
    assert layouts.find_layout("folder", str(tmp_path))[0].name == "folder"
