"""FGVC-Aircraft: variants with spaces and slashes in their own order, boxes that count from one."""

from pathlib import Path

import pytest

from raysearch.data import layouts

from .trees import all_red, picture, put, read, reasons, rows, written


def tree(root: Path) -> Path:
    data = "fgvc-aircraft-2013b/data"
    return put(
        root,
        {
            f"{data}/variants.txt": "F/A-18\n707-320\nCessna 172\nDC-3\n",
            f"{data}/images_variant_trainval.txt": "0034309 F/A-18\n1025794 Cessna 172\n0000007 707-320\n",
            f"{data}/images_variant_train.txt": "0034309 F/A-18\n",
            f"{data}/images_variant_val.txt": "1025794 Cessna 172\n0000007 707-320\n",
            f"{data}/images_variant_test.txt": "0056978 707-320\n",
            f"{data}/images_box.txt": "0034309 3 2 12 5\n",
            f"{data}/images/0034309.jpg": picture(format="PNG", red=(2, 1, 12, 5)),
            f"{data}/images/1025794.jpg": picture(),
            f"{data}/images/0000007.jpg": picture(),
            f"{data}/images/0056978.jpg": picture(),
        },
    )


def test_trainval_is_train_and_labels_are_lines(tmp_path: Path) -> None:
    src = tree(tmp_path / "src")
    found = read("aircraft", src)
    assert rows(found) == {
        ("images/0034309.jpg", "F/A-18", "train"),
        ("images/1025794.jpg", "Cessna 172", "train"),
        ("images/0000007.jpg", "707-320", "train"),
        ("images/0056978.jpg", "707-320", "test"),
    }
    assert found.classes == ("F/A-18", "707-320", "Cessna 172")
    assert written(found, tmp_path / "out").counts == {"train": (1, 1, 1), "test": (0, 1, 0)}


@pytest.mark.parametrize("place", ["", "fgvc-aircraft-2013b/data"])
def test_any_level_is_the_same_data(place: str, tmp_path: Path) -> None:
    src = tree(tmp_path)
    assert rows(read("aircraft", src / place)) == rows(read("aircraft", src))
    assert layouts.detect_layout(str(src / place))[0].name == "aircraft"


def test_an_image_in_both_parts_and_an_unknown_variant(tmp_path: Path) -> None:
    src = tree(tmp_path)
    data = src / "fgvc-aircraft-2013b/data"
    put(data, {"images_variant_test.txt": "0056978 707-321\n0034309 F/A-18\n"})
    found = read("aircraft", src)
    assert reasons(found) == {
        "images/0056978.jpg": "images_variant_test.txt says '707-321', which is not in variants.txt",
        "images/0034309.jpg": "listed as F/A-18 in train and as F/A-18 in test",
    }
    assert len(found) == 2


def test_boxes_count_from_one_and_hold_their_last_pixel(tmp_path: Path) -> None:
    src = tree(tmp_path)
    find_boxes = layouts.LAYOUTS["aircraft"].boxes
    assert find_boxes is not None
    ((source, box),) = find_boxes(str(src)).items()
    assert all_red((src / "fgvc-aircraft-2013b/data" / source).read_bytes(), box, (10, 4))
