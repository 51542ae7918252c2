"""NABirds: ids with holes, names with everything in them, UUIDs."""

from pathlib import Path

from raysearch.data import layouts
from raysearch.data.class_splits import match_class_names

from .trees import all_red, picture, put, read, rows, written

HAWK, JUNCO = "0097.Red-tailed Hawk (Light morph, adult)", "0817.Junco / Dark-eyed"


def tree(root: Path) -> Path:
    """Two leaves of a hierarchy whose inner nodes have names and no photos, one of them called as its leaf."""
    one, two, three = "0000139e-21dc-4d0c", "000c5c1d-4a5e-4a66", "fff86e8b-795f-400a"
    return put(
        root / "nabirds",
        {
            "images.txt": f"{one} 0817/0000139e21dc4d0c.jpg\n{two} 0097/000c5c1d4a5e4a66.jpg\n"
            f"{three} 0817/fff86e8b795f400a.jpg\n",
            "image_class_labels.txt": f"{one} 817\n{two} 97\n{three} 817\n",
            "train_test_split.txt": f"{one} 0\n{two} 1\n{three} 1\n",
            "classes.txt": "0 Birds\n100 Junco / Dark-eyed\n817 Junco / Dark-eyed\n"
            "97 Red-tailed Hawk (Light morph, adult)\n",
            "hierarchy.txt": "97 0\n100 0\n817 100\n",
            "bounding_boxes.txt": f"{one} 3 1 6 4\n",
            "images/0817/0000139e21dc4d0c.jpg": picture(format="PNG", red=(3, 1, 9, 5)),
            "images/0097/000c5c1d4a5e4a66.jpg": picture(),
            "images/0817/fff86e8b795f400a.jpg": picture(),
        },
    ).parent


def test_samples_and_labels(tmp_path: Path) -> None:
    src = tree(tmp_path / "src")
    found = read("nabirds", src)
    assert rows(found) == {
        ("images/0817/0000139e21dc4d0c.jpg", JUNCO, "test"),
        ("images/0097/000c5c1d4a5e4a66.jpg", HAWK, "train"),
        ("images/0817/fff86e8b795f400a.jpg", JUNCO, "train"),
    }
    assert (found.classes, found.corrupt) == ((HAWK, JUNCO), ())
    assert written(found, tmp_path / "out").classes == (HAWK, JUNCO)
    for place in (src, src / "nabirds"):  # and not CUB, which has the same lists
        assert layouts.detect_layout(str(place))[0].name == "nabirds"


def test_lists_of_classes_that_write_the_id_alone() -> None:
    assert match_class_names(["0817", "0097"], [HAWK, JUNCO]) == {"0817": JUNCO, "0097": HAWK}
    assert match_class_names(["0098"], [HAWK]) == {}
    assert match_class_names(["707-320"], ["707-120"]) == {}


def test_boxes(tmp_path: Path) -> None:
    src = tree(tmp_path)
    find_boxes = layouts.LAYOUTS["nabirds"].boxes
    assert find_boxes is not None
    ((source, box),) = find_boxes(str(src)).items()
    assert all_red((src / "nabirds" / source).read_bytes(), box, (6, 4))
