"""Parts in any usual spelling are parts, kinds of files are no classes, and a class named "test" has a way out."""

import unicodedata
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import class_splits, layouts, shards
from raysearch.data.layouts import LAYOUTS, ReadOptions, detect_layout, read_source

from .test_frozen import PHOTO
from .trees import put, read, rows


def src_with(root: Path, *files: str) -> Path:
    return put(root / "src", dict.fromkeys(files, PHOTO))


SPELLINGS = {
    ("Train", "Test"): ("train", "test"),
    ("TRAINING", "TESTING"): ("train", "test"),
    ("train2017", "val2017"): ("train", "val"),
    ("train_images", "val_images", "test-images"): ("train", "val", "test"),
    ("images_train", "images_test"): ("train", "test"),
    ("trainset", "testset"): ("train", "test"),
    ("TrainSet", "DevSet"): ("train", "val"),
    ("cars_train", "cars_test"): ("train", "test"),
    ("meta-train", "meta-test"): ("train", "test"),
    ("01 train", "02 validation", "03 test"): ("train", "val", "test"),
    ("training", "dev", "eval"): ("train", "val", "test"),
    ("train", "valid"): ("train", "val"),
}


@pytest.mark.parametrize("folders", SPELLINGS, ids="/".join)
@pytest.mark.parametrize("classes_are", ["shared", "apart"])
def test_spellings_of_parts(folders: tuple[str, ...], classes_are: str, tmp_path: Path) -> None:
    names = {folder: "wren" if classes_are == "shared" else f"class {n}" for n, folder in enumerate(folders)}
    src = src_with(tmp_path, *(f"{folder}/{name}/1.jpg" for folder, name in names.items()))
    layout, _ = detect_layout(str(src))
    assert layout.name == ("folder" if classes_are == "shared" else "fewshot")
    expected = {
        (f"{folder}/{names[folder]}/1.jpg", names[folder], part)
        for folder, part in zip(folders, SPELLINGS[folders], strict=True)
    }
    assert rows(read(layout.name, src)) == expected
    assert rows(read("folder", src)) == expected


@pytest.mark.parametrize("part", ["train+val", "train+test", "train+valid+test", "Train+dev", "train+Test"])
@pytest.mark.parametrize("layout", ["fewshot", "folder"])
def test_own_parts_reach_the_study(part: str, layout: str, tmp_path: Path) -> None:
    folders = part.split("+")
    files = [f"{folder}/{folder} {n}/{m}.jpg" for folder in folders for n in range(6) for m in range(2)]
    found = read(layout, src_with(tmp_path, *files))
    manifest = shards.write_shards(found, tmp_path / "out", name="n", layout=layout, classes=found.classes)
    divided = class_splits.partition_of(tmp_path / "out", "auto")
    assert divided.name == ("own-held-out" if part.lower() == "train+test" else "own")
    own = {sample.label: sample.split for sample in found}
    for label, divided_part in zip(manifest.classes, divided.of_class, strict=True):
        assert own[label] == divided_part or (own[label], divided_part) == ("train", "val")
    missing = {"train", "val", "test"} - set(own.values())
    assert [text for text in manifest.limits if "keep these parts" in text]
    assert all(f"it has no {name} part" in manifest.limits[0] for name in missing)


def test_lists_with_other_names_of_parts(tmp_path: Path) -> None:
    text = "filename,label\n{0}.jpg,{0}\n"
    lists = {f"split/{name}.csv": text.format(name) for name in ("Train", "validation", "test")}
    src = put(tmp_path, {**lists, **{f"images/{name}.jpg": PHOTO for name in ("Train", "validation", "test")}})
    put(tmp_path, {"split/trainval.csv": text.format("x"), "split/train_aux.csv": text.format("y")})
    assert {(label, split) for _, label, split in rows(read("fewshot", src))} == {
        ("Train", "train"),
        ("validation", "val"),
        ("test", "test"),
    }
    assert detect_layout(str(src))[0].name == "fewshot"


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_split_csv_with_other_words_and_separators(mark: str, tmp_path: Path) -> None:
    header = mark.join(["path", "class", "split"])
    lines = [mark.join([f"{n}.jpg", "wren", word]) for n, word in enumerate(["Train", "dev", "TESTING"])]
    src = put(tmp_path, {"split.csv": "\n".join([header, *lines]), **{f"{n}.jpg": PHOTO for n in range(3)}})
    found = read("folder", src)
    assert [split for _, _, split in sorted(rows(found))] == ["train", "val", "test"]
    assert found.notes == ("labels: column 'class' of split.csv",)


def test_a_label_column_of_lists(tmp_path: Path) -> None:
    src = put(tmp_path / "own", {"split.csv": "path,caption,species,split\n1.jpg,a bird,wren,train\n", "1.jpg": PHOTO})
    with pytest.raises(UserError, match=r"it has caption, species\. Name one by --label-column"):
        read("folder", src)
    for asked in ("species", "caption"):
        chosen = LAYOUTS["folder"].with_options(ReadOptions(label_column=asked)).read(str(src), None)
        assert [sample.label for sample in chosen] == [{"species": "wren", "caption": "a bird"}[asked]]
    lists = {"train.csv": "filename,species\n1.jpg,wren\n", "test.csv": "filename,species\n2.jpg,owl\n"}
    few = put(tmp_path / "few", {**lists, "images/1.jpg": PHOTO, "images/2.jpg": PHOTO})
    chosen = LAYOUTS["fewshot"].with_options(ReadOptions(label_column="species")).read(str(few), None)
    assert {sample.label for sample in chosen} == {"wren", "owl"}


REFUSED = {
    "images and masks": (["images/1.jpg", "masks/1.png"], r"holds images/ and masks/, by name kinds of files"),
    "yolo": (["images/1.jpg", "labels/1.jpg"], r"holds images/ and labels/, by name kinds"),
    "masks beside classes": (
        ["wren/1.jpg", "wren/2.jpg", "wren/3.jpg", "masks/1.png"],
        r"holds masks/, by name a",
    ),
    "one folder": (["JPEGImages/1.jpg", "JPEGImages/2.jpg", "JPEGImages/3.jpg"], r"holds JPEGImages/, by name a kind"),
    "kinds in a part": (["train/images/1.jpg", "train/labels/1.jpg"], r"holds train/images/ and train/labels/"),
    "voc": (
        ["JPEGImages/1.jpg", "SegmentationClass/1.png", "Annotations/1.xml"],
        r"JPEGImages/ and Segmentation",
    ),
    "a part in a part": (["train/train/1.jpg", "test/test/1.jpg"], r"holds train/train/, a part in a part"),
    "flat parts": (["Train/1.jpg", "Test/1.jpg"], r"holds images directly in Train/, a part, and no class folders"),
    "nested": (["dataset/train/a/1.jpg", "dataset/test/a/1.jpg"], r"holds the folder test; use .*/dataset as SRC"),
    "two for one part": (["train2014/a/1.jpg", "train2017/a/1.jpg"], r"train2014 and train2017 both name the train"),
    "a class beside": (["test/1.jpg", "wren/1.jpg"], r"holds test/ beside wren/; .*With --no-parts every folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_folders_that_are_no_classes(case: str, tmp_path: Path) -> None:
    files, message = REFUSED[case]
    src = src_with(tmp_path, *files)
    with pytest.raises(UserError, match=message) as raised:
        read("folder", src)
    assert "\n" not in str(raised.value)
    if case != "nested":  # for which `auto` has its own words
        with pytest.raises(UserError, match=message):
            read(detect_layout(str(src))[0].name, src)


def test_annotations_beside_parts_are_accounted_for(tmp_path: Path) -> None:
    files = ["train/a/1.jpg", "train/a/2.jpg", "train/loose.jpg", "test/a/1.jpg", "masks/1.png", "meta/notes.txt"]
    listing, account = read_source(LAYOUTS["folder"], str(src_with(tmp_path, *files)))
    assert len(listing) == 3
    left_out = {entry.reason: entry.first for entry in account.left_out}
    assert left_out["by its name a kind of files, and no part"] == ("masks/1.png",)
    assert left_out["an image of a part, without a class folder"] == ("train/loose.jpg",)
    assert sum(entry.number for entry in account.left_out) + account.read == len(files)


def test_a_class_that_is_truly_named_test(tmp_path: Path) -> None:
    files = [f"{name}/{n}.jpg" for name in ("test", "wren", "masks") for n in range(4)]
    src = src_with(tmp_path, *files)
    chosen = LAYOUTS["folder"].with_options(ReadOptions(no_parts=True))
    assert {sample.label for sample in chosen.read(str(src), None)} == {"test", "wren", "masks"}
    with pytest.raises(UserError, match="--no-parts has no effect in the layout fewshot; it is for folder"):
        LAYOUTS["fewshot"].with_options(ReadOptions(no_parts=True))


@pytest.mark.parametrize("names", [("test tubes", "gloves"), ("training shoes", "val d'isère"), ("devil", "testudo")])
def test_classes_whose_names_have_words_of_parts(names: tuple[str, str], tmp_path: Path) -> None:
    src = src_with(tmp_path, *(f"{name}/{n}.jpg" for name in names for n in range(3)))
    assert {label for _, label, _ in rows(read("folder", src))} == set(names)
    assert detect_layout(str(src))[0].name == "folder"


def test_one_class_in_two_unicode_forms(tmp_path: Path) -> None:
    """macOS writes names apart and most others composed; the classes of train and test are one."""
    composed, apart = (unicodedata.normalize(form, "colibrí") for form in ("NFC", "NFD"))
    src = src_with(tmp_path, f"train/{composed}/1.jpg", f"train/{composed}/2.jpg", f"test/{apart}/1.jpg")
    layout, _ = layouts.detect_layout(str(src))
    assert layout.name == "folder"
    found = read("folder", src)
    assert {(label, split) for _, label, split in rows(found)} == {(composed, "train"), (composed, "test")}
    with pytest.raises(UserError, match="is in train and in test"):
        read("fewshot", src)
    csv = f"path,label,split\n1.jpg,{apart},train\n2.jpg,{composed},test\n"
    listed = put(tmp_path / "csv", {"split.csv": csv, "1.jpg": PHOTO, "2.jpg": PHOTO})
    assert {sample.label for sample in read("folder", listed)} == {composed}
    split = class_splits.load_split("mod4", [apart, "a", "b", "c"])
    (tmp_path / "list.csv").write_text(f"class,split\n{composed},Train\na,dev\nb,test\nc,test\n")
    own = class_splits.load_split(str(tmp_path / "list.csv"), [apart, "a", "b", "c"])
    assert own.parts[apart] == "train"
    assert set(split.parts) == set(own.parts)
