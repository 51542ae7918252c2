"""Labels and class names: names map what they can, the rest is named, and nothing is lost."""

import unicodedata
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.data.layouts.readers.label_names import name_labels

from .test_webdataset import tar
from .trees import picture, put, read, reasons


def of(labels: str, names: str = "", first: int | None = None) -> dict[str, str]:
    return dict(name_labels(Counter(labels.split()), names.split(), first).of_label)


def test_one_odd_label_leaves_the_names_on() -> None:
    found = name_labels({"0": 2, "1": 2, "2": 2, "unknown": 3}, ["wren", "owl", "auk"])
    assert found.classes == ("wren", "owl", "auk")
    assert found.warnings == ("3 images have labels without a class name, and are left out: 'unknown' (3)",)
    assert of("0 1 owl ? -1 7", "wren owl") == {"0": "wren", "1": "owl", "owl": "owl"}


def test_spellings_of_numbers() -> None:
    assert of("0 1.0 002 +1", "wren owl auk") == {"0": "wren", "1.0": "owl", "002": "auk", "+1": "owl"}
    assert of("3 12 007") == {"3": "3", "12": "12", "007": "007"}
    assert name_labels(Counter(["10", "9", "007", "-2"]), []).classes == ("-2", "007", "9", "10")
    assert of("1.0 2.0") == {"1.0": "1", "2.0": "2"}
    assert of("1 01 1.0 2") == {"1": "1", "01": "1", "1.0": "1", "2": "2"}
    arabic = "\u0663"
    assert of(f"3 {arabic}") == {"3": "3", arabic: arabic}, "digits are ASCII digits"
    assert of(f"0 {arabic}", "a b c d") == {"0": "a"}


def test_lists_that_count_from_one() -> None:
    assert of("1 2 3", "a b c") == {"1": "a", "2": "b", "3": "c"}
    assert name_labels(Counter(["1", "2", "3"]), ["a", "b", "c"]).notes[0].endswith("they count from 1")
    assert of("1 2", "a b c") == {"1": "b", "2": "c"}
    assert of("0 1 3", "a b c") == {"0": "a", "1": "b"}
    assert of("1 2 3", "a b c", first=0) == {"1": "b", "2": "c"}


def test_names_without_images_and_twice() -> None:
    found = name_labels({"0": 1, "4": 1}, ["a", "b", "c", "d", "e"])
    assert (found.classes, found.warnings) == (("a", "e"), ())
    assert found.notes == ("3 of 5 class names have no image: 'b', 'c', 'd'",)
    assert of("0 1 2", "crane auk crane") == {"0": "crane (0)", "1": "auk", "2": "crane (2)"}


def test_a_list_of_other_names_is_not_used() -> None:
    found = name_labels({"n01440764": 1, "n01443537": 2}, ["tench", "goldfish"])
    assert found.classes == ("n01440764", "n01443537")
    assert found.warnings[0].startswith("no label is among the 2 class names (first label: 'n01440764')")


def test_one_unicode_form() -> None:
    composed, apart = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))
    assert of(f"{composed} {apart}") == {composed: composed, apart: composed}
    assert of(apart, f"{composed} owl") == {apart: composed}


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["0", "1", "2", "3", "03", "1.0", "-1", "unknown", "wren", "owl", "\u0663", ""])),
    st.lists(st.sampled_from(["wren", "owl", "auk"]), max_size=4),
)
def test_every_label_is_a_class_or_in_a_warning(labels: list[str], names: list[str]) -> None:
    found = name_labels(Counter(labels), names)
    assert set(found.of_label.values()) == set(found.classes)
    assert len(set(found.classes)) == len(found.classes)
    lost = sum(label not in found.of_label for label in labels)
    assert bool(lost) == any("left out" in warning for warning in found.warnings)


def test_a_webdataset_with_three_odd_rows(tmp_path: Path) -> None:
    put(tmp_path, {"classes.txt": "wren\nowl\nauk\n"})
    labels = ["0", "1", "2", "unknown", "unknown", "unknown"]
    members = {f"{row}.jpg": picture() for row in range(6)} | {f"{row}.cls": labels[row].encode() for row in range(6)}
    tar(tmp_path / "train.tar", dict(sorted(members.items())))
    found = read("webdataset", tmp_path)
    assert found.classes == ("wren", "owl", "auk")
    assert reasons(found) == {
        f"train.tar/{row}.jpg": "its label is 'unknown', which is no class name, and there are 3" for row in (3, 4, 5)
    }
    assert "'unknown' (3)" in found.warnings[0]
