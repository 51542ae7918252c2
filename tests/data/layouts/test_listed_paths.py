"""A listed image has one path, however the list spells it, and is in SRC."""

import unicodedata
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import layouts

from .trees import picture, put, read, rows

NAME = "b/été.jpg"
SPELLINGS = ["./b/été.jpg", "b//été.jpg", "a/../b/été.jpg", "b/./été.jpg", "b\\été.jpg", ".\\b\\été.jpg"]
SPELLINGS += [unicodedata.normalize("NFD", NAME)]


def lists(form: str, *paths: str) -> dict[str, str]:
    """The list of a layout with these images, of which each is in its own class."""
    if form == "folder":
        return {"split.csv": "path,label,split\n" + "".join(f"{path},c{n},train\n" for n, path in enumerate(paths))}
    return {"train.csv": "filename,label\n" + "".join(f"{path},c{n}\n" for n, path in enumerate(paths))}


@pytest.mark.parametrize("form", ["folder", "fewshot"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_spelling_is_the_file(form: str, spelling: str, tmp_path: Path) -> None:
    src = put(tmp_path / "src", {NAME: picture(), "a/x.jpg": picture(), **lists(form, spelling)})
    listing, account = layouts.read_source(layouts.LAYOUTS[form], str(src))
    assert rows(listing) == {(NAME, "c0", "train")}
    assert listing.samples[0].load() == picture()
    assert [(entry.first, entry.number) for entry in account.left_out] == [(("a/x.jpg",), 1)]
    assert account.used == (next(iter(lists(form))),)


@pytest.mark.parametrize("form", ["folder", "fewshot"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_two_spellings_are_listed_twice(form: str, spelling: str, tmp_path: Path) -> None:
    src = put(tmp_path / "src", {NAME: picture(), **lists(form, NAME, spelling)})
    with pytest.raises(UserError, match=r"is listed (already on line 2|twice)"):
        read(form, src)


@pytest.mark.parametrize("form", ["folder", "fewshot"])
@pytest.mark.parametrize(
    "path", ["../secret.jpg", "b/../../secret.jpg", "..\\secret.jpg", "C:\\secret.jpg", "/etc/a.jpg"]
)
def test_paths_that_lead_out_are_refused(form: str, path: str, tmp_path: Path) -> None:
    put(tmp_path, {"secret.jpg": picture()})
    src = put(tmp_path / "src", {"b/1.jpg": picture(), **lists(form, "b/1.jpg", path)})
    with pytest.raises(UserError, match=r"leads out of SRC|is absolute"):
        read(form, src)


def test_both_unicode_forms_may_be_on_disk(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, NAME) for form in ("NFC", "NFD")]
    src = put(tmp_path / "src", {name: picture() for name in names})
    if len(list((src / "b").iterdir())) < 2:
        pytest.skip("this file system has one form only")
    put(src, lists("folder", *names))
    assert {sample.source for sample in read("folder", src)} == set(names)


@pytest.mark.parametrize("form", ["folder", "fewshot"])
def test_a_name_too_long_for_the_disk_is_a_short_line(form: str, tmp_path: Path) -> None:
    tree = {"images/a.jpg": picture(), **lists(form, "[" * 5_000, "a.jpg")}
    if form == "fewshot":
        tree["train.csv"] = f"filename,label\na.jpg,{'[' * 5_000}\n"
    src = put(tmp_path / "src", tree)
    with pytest.raises(UserError, match=r"File name too long") as raised:
        layouts.read_source(layouts.LAYOUTS[form], str(src))
    assert len(str(raised.value)) < 1_000
