"""Food-101: lists without endings, labels in the order of classes.txt."""

from pathlib import Path

from raysearch.data import layouts

from .trees import picture, put, read, reasons, rows, written


def tree(root: Path) -> Path:
    return put(
        root / "food-101",
        {
            "meta/classes.txt": "apple_pie\nbeef_tartare\n",
            "meta/labels.txt": "Apple pie\nBeef tartare\n",
            "meta/train.txt": "apple_pie/1005649\nbeef_tartare/100\n",
            "meta/test.txt": "apple_pie/7\n",
            "meta/train.json": "{}",
            "images/apple_pie/1005649.jpg": picture(),
            "images/apple_pie/7.jpg": picture("L"),
            "images/beef_tartare/100.jpg": picture(),
        },
    ).parent


def test_samples(tmp_path: Path) -> None:
    src = tree(tmp_path / "src")
    found = read("food101", src)
    assert rows(found) == {
        ("images/apple_pie/1005649.jpg", "apple_pie", "train"),
        ("images/apple_pie/7.jpg", "apple_pie", "test"),
        ("images/beef_tartare/100.jpg", "beef_tartare", "train"),
    }
    assert written(found, tmp_path / "out").classes == ("apple_pie", "beef_tartare")
    assert layouts.detect_layout(str(src))[0].name == "food101"
    assert layouts.detect_layout(str(src / "food-101"))[0].name == "food101"


def test_disagreements(tmp_path: Path) -> None:
    src = tree(tmp_path)
    put(src / "food-101", {"meta/test.txt": "apple_pie/7\r\napple_pie/8\r\nwaffles/1\r\n"})
    assert reasons(read("food101", src)) == {
        "images/apple_pie/8.jpg": "listed, and there is no such file",
        "images/waffles/1.jpg": "meta/test.txt says 'waffles', which is not in meta/classes.txt",
    }
