"""CUB-200-2011: the lists as released, each of their contradictions named, boxes to the pixel."""

from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import layouts

from .trees import all_red, picture, put, read, reasons, rows, written

AUK, WREN = "002.Parakeet_Auklet", "010.Wren_(House)"
GOOD = {
    (f"images/{AUK}/a_1.jpg", AUK, "train"),
    (f"images/{AUK}/a_2.jpg", AUK, "test"),
    (f"images/{WREN}/w_1.jpg", WREN, "test"),
}


def tree(root: Path) -> Path:
    """Two species with photos and one without; ids are in no order, one photo is grey; the archive's own folder."""
    base = "CUB_200_2011"
    return put(
        root,
        {
            "attributes.txt": "1 has_bill_shape::curved\n",
            f"{base}/images.txt": f"7 {AUK}/a_1.jpg\n3 {AUK}/a_2.jpg\n12 {WREN}/w_1.jpg\n",
            f"{base}/image_class_labels.txt": "3 2\n7 2\n12 10\n",
            f"{base}/train_test_split.txt": "3 0\n7 1\n12 0\n",
            f"{base}/classes.txt": f"10 {WREN}\n2 {AUK}\n9 009.Brewer_Blackbird\n",
            f"{base}/bounding_boxes.txt": "3 4.0 2.0 5.0 3.0\n7 0.0 0.0 12.0 8.0\n12 6.0 4.0 300.0 200.0\n",
            f"{base}/images/{AUK}/a_1.jpg": picture("L"),
            f"{base}/images/{AUK}/a_2.jpg": picture(format="PNG", red=(4, 2, 9, 5)),
            f"{base}/images/{WREN}/w_1.jpg": picture(),
        },
    )


def test_samples_classes_and_parts(tmp_path: Path) -> None:
    src = tree(tmp_path / "src")
    found = read("cub", src)
    assert rows(found) == rows(read("cub", src / "CUB_200_2011")) == GOOD
    assert found.classes == (AUK, WREN)  # by number; without the class that has no photos
    assert found.corrupt == ()
    manifest = written(found, tmp_path / "out")
    assert manifest.counts == {"train": (1, 0), "test": (1, 1)}
    for place in (src, src / "CUB_200_2011"):
        assert layouts.detect_layout(str(place))[0].name == "cub"


def test_what_contradicts_is_named(tmp_path: Path) -> None:
    src = tree(tmp_path)
    base = src / "CUB_200_2011"
    for file, line in {
        "images.txt": "20 002.Parakeet_Auklet/gone.jpg\n21 010.Wren_(House)/mislabelled.jpg\n"
        "22 010.Wren_(House)/nameless.jpg\n23 010.Wren_(House)/no_part.jpg\n24 010.Wren_(House)/part.jpg\n"
        "25 010.Wren_(House)/class.jpg\n",
        "image_class_labels.txt": "20 2\n21 2\n23 10\n24 10\n25 11\n99 2\n",
        "train_test_split.txt": "20 1\n21 1\n22 1\n24 2\n25 1\n",
    }.items():
        (base / file).write_text((base / file).read_text() + line)
    names = ("mislabelled", "nameless", "no_part", "part", "class", "unlisted")
    put(base, {f"images/{WREN}/{name}.jpg": picture() for name in names})
    found = read("cub", src)
    assert rows(found) == GOOD
    assert reasons(found) == {
        "id 99": "in image_class_labels.txt, not in images.txt",
        f"images/{AUK}/gone.jpg": "listed, and there is no such file",
        f"images/{WREN}/mislabelled.jpg": f"its class is {AUK} in image_class_labels.txt, but not by its folder",
        f"images/{WREN}/nameless.jpg": "it has no class in image_class_labels.txt",
        f"images/{WREN}/no_part.jpg": "train_test_split.txt has nothing for it, neither 0 nor 1",
        f"images/{WREN}/part.jpg": "train_test_split.txt has 2 for it, neither 0 nor 1",
        f"images/{WREN}/class.jpg": "class 11 is not in classes.txt",
        f"images/{WREN}/unlisted.jpg": "in no list of the data set",
    }


def test_boxes(tmp_path: Path) -> None:
    src = tree(tmp_path)
    find_boxes = layouts.LAYOUTS["cub"].boxes
    assert find_boxes is not None
    boxes = find_boxes(str(src))
    assert boxes[f"images/{WREN}/w_1.jpg"] == (6, 4, 306, 204)
    source = f"images/{AUK}/a_2.jpg"
    assert all_red((src / "CUB_200_2011" / source).read_bytes(), boxes[source], (5, 3))
    (src / "CUB_200_2011/bounding_boxes.txt").write_text("3 4.0 2.0 5.0\n")
    with pytest.raises(UserError, match=r"bounding_boxes.txt, id 3: '4.0 2.0 5.0' is not a box of four numbers"):
        find_boxes(str(src))


def test_incomplete_releases(tmp_path: Path) -> None:
    src = tree(tmp_path)
    (src / "CUB_200_2011/classes.txt").write_text("2 002.Parakeet_Auklet\n10")
    with pytest.raises(UserError, match=r"classes.txt: nothing follows '10'; is the file whole"):
        read("cub", src)
    (src / "CUB_200_2011/classes.txt").unlink()
    with pytest.raises(UserError, match=r"holds no CUB-200-2011: classes.txt is missing; it is known by images.txt"):
        read("cub", src)
    with pytest.raises(UserError, match="the split comes from the lists of CUB-200-2011"):
        layouts.LAYOUTS["cub"].read(str(src), 0.5)
