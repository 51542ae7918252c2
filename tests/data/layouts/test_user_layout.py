"""A layout of a user's file: images by path and as bytes, with and without splits, and its mistakes."""

from pathlib import Path

import pytest
from PIL import Image

from raysearch.core import UserError, user_code
from raysearch.data import layouts, shards

HEAD = "import csv\nfrom pathlib import Path\n\n\n"
PATHS = HEAD + (
    "def read(src):\n"
    "    for path in sorted(Path(src).rglob('*.png')):\n"
    "        yield path, path.stem.split('-')[0], None\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label, color in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        for number in range(5):
            path = Path("photos", f"{label}-{number}.png")
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), color).save(path)
    yield tmp_path
    user_code.unregister_all()
    layouts.LAYOUTS.forget_codes()


def _read(source: str, test_fraction: float | None = None) -> layouts.Listing:
    Path("my_layout.py").write_text(source)
    layout, _ = layouts.find_layout("my_layout.py:read", "photos")
    listing, account = layouts.read_source(layout, "photos", test_fraction)
    assert account.read == len(listing)
    return listing


def test_images_are_read_by_their_paths(folder):
    listing = _read(PATHS)
    assert len(listing) == 10
    assert {(sample.source, sample.label) for sample in listing} == {
        (f"{label}-{number}.png", label) for label in ("red", "blue") for number in range(5)
    }
    assert {sample.split for sample in listing} == {"train", "test"}
    assert all(sample.load() == Path("photos", sample.source).read_bytes() for sample in listing)


def test_the_same_images_are_held_out_whatever_their_order(folder):
    listing = _read(PATHS, 0.4)
    reverse = _read(PATHS.replace("sorted(", "reversed(sorted(").replace("'*.png'))", "'*.png')))"), 0.4)
    held_out = {sample.source for sample in listing if sample.split == "test"}
    assert held_out == {sample.source for sample in reverse if sample.split == "test"}
    assert len(held_out) == 4


def test_bytes_and_splits_are_taken_as_they_are(folder):
    source = PATHS.replace("yield path,", "yield path.read_bytes(),").replace(", None", ", 'val'")
    listing = _read(source)
    assert {sample.split for sample in listing} == {"val"}
    assert sorted(sample.load() for sample in listing) == sorted(path.read_bytes() for path in Path("photos").iterdir())
    with pytest.raises(UserError, match="--test-fraction has no effect"):
        _read(source, 0.3)


def test_it_becomes_a_data_set(folder):
    from raysearch import ingest

    Path("my_layout.py").write_text(PATHS)
    from raysearch.core import cli

    with pytest.raises(SystemExit) as ended:
        cli.run(ingest.app, ["my_layout.py:read", "photos", "shards"])
    assert ended.value.code in (0, None)
    manifest = shards.read_manifest("shards")
    assert manifest.classes == ("blue", "red")
    assert manifest.images == 10


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1]", r"item 0 is '1', not \(path or bytes, label, split\)"),
        ("return [(3, 'a', 'train')]", "item 0: the image is an int, not a path or bytes"),
        ("return [('a.png', None, 'train')]", "item 0 has no label"),
        ("return [('a.png', 'a', 'dev')]", "item 0: the split is 'dev', not one of train, val, test"),
        ("return [('a.png', 'a', 'train'), ('b.png', 'a', None)]", "image 1 has no split, and others have"),
        ("return []", "returned no image of photos"),
        ("return open('nothing')", r"FileNotFoundError: .*nothing.* \(my_layout\.py, line \d+, in read\)"),
    ],
)
def test_a_mistake_is_an_error_of_one_line(folder, body, message):
    with pytest.raises(UserError, match=message):
        _read(HEAD + f"def read(src):\n    {body}\n")


def test_a_file_that_is_not_there_is_counted(folder):
    listing = _read(PATHS.replace("None", "'train'") + "    yield 'missing.png', 'red', 'train'\n")
    missing = next(sample for sample in listing if sample.source == "missing.png")
    with pytest.raises(shards.CorruptImage, match="no such file"):
        missing.load()
