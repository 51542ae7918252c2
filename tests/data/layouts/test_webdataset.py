"""WebDataset: images are fetched by their place in the tar, labels from .cls or .json, parts from names."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import layouts

from .trees import picture, put, read, reasons, rows, written


def tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def test_cls_with_names(tmp_path: Path) -> None:
    photos = [picture(red=(0, 0, n, 8)) for n in range(1, 4)]
    src = put(tmp_path / "src", {"classnames.txt": "owl\nwren/house\nauk\n"})
    tar(src / "birds-train-0000.tar", {"0.jpg": photos[0], "0.cls": b"1\n", "sub/a.b/1.PNG": photos[1]})
    tar(src / "birds-val-0000.tar", {"x.cls": b"0", "x.jpg": photos[2], "x.txt": b"an owl", "x.seg.png": photos[0]})
    found = read("webdataset", src)
    assert rows(found) == {
        ("birds-train-0000.tar/0.jpg", "wren/house", "train"),
        ("birds-val-0000.tar/x.jpg", "owl", "val"),
    }
    assert [sample.load() for sample in found] == [photos[0], photos[2]]
    assert found.classes == ("owl", "wren/house")
    assert reasons(found) == {
        "birds-train-0000.tar/sub/a.b/1.PNG": "no sub/a.b/1.cls or sub/a.b/1.json with a label beside it"
    }
    assert layouts.detect_layout(str(src))[0].name == "webdataset"


def test_json_and_the_order_of_numbers(tmp_path: Path) -> None:
    members = {}
    for number, label in enumerate((10, 2, 2, 10, 2, 10)):
        members[f"{number}.jpg"] = picture()
        members[f"{number}.json"] = json.dumps({"width": 12, "label": label}).encode()
    tar(tmp_path / "src/0.tar", members)
    found = read("webdataset", tmp_path / "src")
    assert found.classes == ("2", "10")
    assert written(found, tmp_path / "out").counts == {"train": (2, 2), "test": (1, 1)}  # by hash, as class folders


def test_names_as_labels_in_part_folders(tmp_path: Path) -> None:
    tar(tmp_path / "train/0.tar", {"a.jpg": picture(), "a.cls": b"wren"})
    tar(tmp_path / "test/0.tar", {"a.jpg": picture(), "a.cls": b"7"})
    found = read("webdataset", tmp_path)
    assert rows(found) == {("train/0.tar/a.jpg", "wren", "train"), ("test/0.tar/a.jpg", "7", "test")}
    assert found.classes == ("7", "wren")
    with pytest.raises(UserError, match=r"the split comes from the names of files \(test/0.tar\)"):
        layouts.LAYOUTS["webdataset"].read(str(tmp_path), 0.5)


def test_what_is_wrong_with_members(tmp_path: Path) -> None:
    put(tmp_path, {"classes.txt": "owl\n"})
    members = {
        "a.jpg": picture(),
        "a.json": b"[1]",
        "b.jpg": picture(),
        "b.json": b"{",
        "c.jpg": picture(),
        "c.cls": b"1",
    }
    path = tar(
        tmp_path / "train.tar", {**members, "d.jpg": picture(), "d.cls": b"0", "e.jpg": picture(), "e.cls": b"0"}
    )
    assert reasons(read("webdataset", tmp_path)) == {
        "train.tar/a.jpg": "no a.cls or a.json with a label beside it",
        "train.tar/b.jpg": "no b.cls or b.json with a label beside it",
        "train.tar/c.jpg": "its label is 1, and there are 1",
    }
    with tarfile.open(path) as file:
        last = file.getmember("e.cls")
    whole = path.read_bytes()
    for end in (last.offset, last.offset + 100, last.offset_data):  # before its header, in it, before its data
        path.write_bytes(whole[:end])
        found = read("webdataset", tmp_path)
        assert reasons(found)["train.tar"].startswith("it breaks off after 5 images (")
        assert rows(found) == {("train.tar/d.jpg", "owl", "train")}


def test_parts_of_some_files_only(tmp_path: Path) -> None:
    for name in ("train-0.tar", "more.tar"):
        tar(tmp_path / name, {"a.jpg": picture(), "a.cls": b"0"})
    with pytest.raises(UserError, match=r"train-0.tar names its part and .*more.tar does not; put train, val"):
        read("webdataset", tmp_path)
    (tmp_path / "more.tar").rename(tmp_path / "train-val.tar")
    with pytest.raises(UserError, match=r"train-val.tar names train and val; a file has one part"):
        read("webdataset", tmp_path)
    with pytest.raises(UserError, match=r"holds no \.tar file"):
        read("webdataset", put(tmp_path / "empty", {"a.txt": ""}))
