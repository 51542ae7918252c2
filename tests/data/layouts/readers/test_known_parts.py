"""miniImageNet, tieredImageNet and CIFAR-FS: known by their classes, in every form that they lie in."""

from collections.abc import Callable
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import class_splits, layouts

from ..trees import picture, put, read, reasons, rows

PHOTO = picture()


def as_lists(root: Path, name: str) -> Path:
    texts: dict[str, str] = {}
    for label, part in class_splits.shipped_parts(name).items():
        put(root, {f"images/{label}00000005.jpg": PHOTO})
        texts[part] = texts.get(part, "filename,label\n") + f"{label}00000005.jpg,{label}\n"
    return put(root, {f"{part}.csv": text for part, text in texts.items()})


def as_folders(root: Path, name: str, before: str = "") -> Path:
    return put(
        root, {f"{before}{part}/{label}/1.jpg": PHOTO for label, part in class_splits.shipped_parts(name).items()}
    )


def as_released(root: Path) -> Path:
    """CIFAR-FS as its authors packed it, with a second partition beside."""
    parts = class_splits.shipped_parts("cifar-fs")
    of = {part: [label for label in parts if parts[label] == part] for part in parts.values()}
    put(root, {f"cifar100/splits/bertinetto/{part}.txt": "\n".join(labels) for part, labels in of.items()})
    put(root, {f"cifar100/splits/ravi-larochelle/{part}.txt": "apple" for part in of})
    return put(root, {f"cifar100/data/{label}/{label}_s_000022.png": picture(format="PNG") for label in parts})


FORMS: dict[str, dict[str, Callable[[Path, str], Path]]] = {
    "miniimagenet": {"csv": as_lists, "folders": as_folders},
    "tieredimagenet": {"folders": as_folders},
    "cifar-fs": {
        "released": lambda root, name: as_released(root),
        "folders": lambda root, name: as_folders(root, name, "meta-"),
    },
}


@pytest.mark.parametrize(("name", "form"), [(name, form) for name, forms in FORMS.items() for form in forms])
def test_every_form(name: str, form: str, tmp_path: Path) -> None:
    src = FORMS[name][form](tmp_path, name)
    found = read(name, src)
    assert {sample.label: sample.split for sample in found} == class_splits.shipped_parts(name)
    assert (len(found), found.corrupt) == (len(class_splits.shipped_parts(name)), ())
    layout, reason = layouts.detect_layout(str(src))
    assert layout.name == name
    assert "bertinetto" in reason or f"part {len(found)} classes as {layouts.LAYOUTS[name].about} does" in reason


def test_published_counts_agree_with_the_lists() -> None:
    for name in FORMS:
        counts, parts = layouts.LAYOUTS[name].counts, list(class_splits.shipped_parts(name).values())
        assert counts is not None
        assert counts.classes == {part: parts.count(part) for part in ("train", "val", "test")}


def test_a_class_in_another_part(tmp_path: Path) -> None:
    src = as_folders(tmp_path, "miniimagenet")
    (src / "test/n01532829").mkdir()
    (src / "train/n01532829/1.jpg").rename(src / "test/n01532829/1.jpg")
    (src / "train/n01532829").rmdir()
    with pytest.raises(UserError, match="'n01532829' is in test, and miniImageNet has it in train; the layout fewshot"):
        read("miniimagenet", src)
    assert layouts.detect_layout(str(src))[0].name == "fewshot"
    put(src, {"val/n99999999/1.jpg": PHOTO})
    (src / "test/n01532829/1.jpg").unlink()
    with pytest.raises(UserError, match="'n99999999' is in val, and miniImageNet has no such class"):
        read("miniimagenet", src)


def test_released_images_of_no_part(tmp_path: Path) -> None:
    src = put(as_released(tmp_path), {"cifar100/data/unicorn/1.png": picture(format="PNG")})
    found = read("cifar-fs", src)
    assert reasons(found) == {"data/unicorn/1.png": "in no list of the data set"}
    assert ("data/apple/apple_s_000022.png", "apple", class_splits.shipped_parts("cifar-fs")["apple"]) in rows(found)
