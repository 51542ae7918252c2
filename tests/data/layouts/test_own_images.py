"""Layouts: the same samples whatever order files are listed in, and one clear line for a folder that cannot be read."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import layouts
from raysearch.data.shards import Sample


def make(root: Path, *files: str) -> str:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(file.encode())
    return str(root)


def keys(samples: Iterable[Sample]) -> set[tuple[str, str, str]]:
    return {(s.source, s.label, s.split) for s in samples}


def test_split_csv_says_everything(tmp_path: Path) -> None:
    src = make(tmp_path, "x/1.jpg", "x/2.png", "y.jpg", "unlisted.jpg")
    rows = "\ufeffsplit,path,label,note\ntrain,x/1.jpg,Wren,\nval,x/2.png,Owl,n\ntest,y.jpg,Wren,n\n"
    (tmp_path / "split.csv").write_text(rows, "utf-8")
    samples = layouts.read_folder(src)
    assert keys(samples) == {("x/1.jpg", "Wren", "train"), ("x/2.png", "Owl", "val"), ("y.jpg", "Wren", "test")}
    assert [s.load() for s in samples] == [b"x/1.jpg", b"x/2.png", b"y.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n1.jpg,a\n", "split.csv lacks the column 'split'"),
        ("", "lacks the column 'path'"),
        ("path,label,split\n", "lists no images"),
        ("path,label,split\n1.jpg,a,train\n1.jpg,a,tets\n", "line 3: unknown split 'tets'; did you mean 'test'"),
        ("path,label,split\n1.jpg,,train\n", "line 2: path or label is empty"),
        ("path,label,split\n1.jpg,a\n", "line 2: unknown split ''"),
        ("path,label,split\n1.jpg,a,train\n1.jpg,b,test\n", "line 3: 1.jpg is listed already on line 2"),
        ("path,label,split\n/etc/hostname,a,train\n", "line 2: /etc/hostname is absolute"),
        ("path,label,split\n1.jpg,\udcff,train\n", "not a CSV file in UTF-8"),
    ],
)
def test_wrong_split_csv(text: str, message: str, tmp_path: Path) -> None:
    src = make(tmp_path, "1.jpg")
    (tmp_path / "split.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=message):
        layouts.read_folder(src)


def test_class_folders_are_split_in_each_class(tmp_path: Path) -> None:
    files = [f"{label}/{i}.{end}" for label in "ab" for i, end in enumerate(["jpg", "JPEG", "png", "bmp", "webp"] * 2)]
    src = make(tmp_path, *files, "a/notes.txt", ".hidden/1.jpg", "readme.md")
    samples = layouts.read_folder(src)
    assert {s.source for s in samples} == set(files)
    assert Counter((s.label, s.split) for s in samples) == dict.fromkeys(
        [(label, split) for label in "ab" for split in ("train", "test")], 5
    )
    fifth = layouts.read_folder(src, test_fraction=0.2)
    assert Counter(s.split for s in fifth) == {"train": 16, "test": 4}
    assert {k[0] for k in keys(fifth) if k[2] == "test"} < {k[0] for k in keys(samples) if k[2] == "test"}


def test_split_does_not_depend_on_listing_order_or_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [f"{label}/{i}.jpg" for label in "abc" for i in range(9)]
    here, there = make(tmp_path / "here", *files), make(tmp_path / "there", *files[::-1])
    expected = keys(layouts.read_folder(here))
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(sorted(listed(path), reverse=True)))
    assert keys(layouts.read_folder(there)) == expected


def test_small_classes_keep_two_to_train_and_one_to_test(tmp_path: Path) -> None:
    src = make(tmp_path, "a/1.jpg", "a/2.jpg", "a/3.jpg")
    for fraction in (0.01, 0.99):
        assert Counter(s.split for s in layouts.read_folder(src, fraction)) == {"train": 2, "test": 1}


def test_split_folders(tmp_path: Path) -> None:
    src = make(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "val/c/1.jpg")
    assert keys(layouts.read_folder(src)) == {
        ("train/a/1.jpg", "a", "train"),
        ("train/b/1.jpg", "b", "train"),
        ("test/a/1.jpg", "a", "test"),
        ("val/c/1.jpg", "c", "val"),
    }
    with pytest.raises(UserError, match="--test-fraction has no effect here: the split comes from test/"):
        layouts.read_folder(src, 0.3)
    make(tmp_path, "extra/1.jpg")
    with pytest.raises(UserError, match="holds test/ beside extra/"):
        layouts.read_folder(src)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "neither class folders nor a split.csv"),
        (["1.jpg"], "images but no class folders"),
        (["a/notes.txt"], "no images in its class folders"),
        (["train/a/notes.txt"], "holds no images"),
        (["a/1.jpg", "a/2.jpg", "a/3.jpg", "lonely/1.jpg"], "class 'lonely' has 1 image .*at least three"),
        (["a/1.jpg", "a/2.jpg", "a/3.jpg", "none/notes.txt"], "class 'none' has 0 images"),
        (["images/a/1.jpg", "images/b/1.jpg"], "class folder .*images holds the folder a"),
    ],
)
def test_wrong_folders(files: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        layouts.read_folder(make(tmp_path, *files))


def test_wrong_arguments(tmp_path: Path) -> None:
    src = make(tmp_path, "a/1.jpg", "a/2.jpg", "a/3.jpg")
    with pytest.raises(UserError, match="does not exist"):
        layouts.read_folder(src + "/nowhere")
    with pytest.raises(UserError, match="is not a directory"):
        layouts.read_folder(src + "/a/1.jpg")
    for fraction in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="must be between 0 and 1"):
            layouts.read_folder(src, fraction)
    with pytest.raises(UserError, match="unknown layout 'foldr'; did you mean 'folder'"):
        layouts.find_layout("foldr", src)
    with pytest.raises(UserError, match="the split comes from train_per_class"):
        layouts.LAYOUTS["synthetic"].read("-", 0.5)
