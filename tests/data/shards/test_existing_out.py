"""OUT that exists already, or cannot be created, is noticed before the work; a new name takes effect."""

from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.data import shards
from raysearch.data.shards import Sample

from ..layouts.trees import picture
from .test_ingest import ingest

SAMPLES = [Sample(f"{n}.jpg", "owl", "train", picture) for n in range(2)]


def fail() -> bytes:
    raise AssertionError("an image was read before OUT was checked")


def test_a_linked_out_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, target in {"to_empty": "empty", "nowhere": "nothing", "itself": "itself", "to_file": "file"}.items():
        (tmp_path / name).symlink_to(target)
        with pytest.raises(UserError, match=r"is a link to|exists already"):
            shards.write_shards([Sample("0.jpg", "owl", "train", fail)], tmp_path / name, name="n", layout="l")
    assert shards.write_shards(SAMPLES, tmp_path / "empty", name="n", layout="l").images == 2
    assert shards.write_shards(SAMPLES, tmp_path / "to_empty", name="n", layout="l").images == 2  # the same data


def test_a_new_name_takes_effect(tmp_path: Path) -> None:
    spec = "classes=2,train_per_class=2,test_per_class=1,side=16"
    assert ingest("synthetic", spec, tmp_path / "out")[0] == 0
    before = shards.read_manifest(tmp_path / "out")
    code, out, err = ingest("synthetic", spec, tmp_path / "out", "--name", "birds")
    assert (code, err) == (0, "")
    assert "out is now birds" in out
    after = shards.verify_shards(tmp_path / "out")
    assert after == before.model_copy(update={"name": "birds"})
    assert ingest("synthetic", spec, tmp_path / "out")[0] == 0  # without --name the name stays
    assert shards.read_manifest(tmp_path / "out").name == "birds"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format":' * 50_000, '{"format": Infinity}', '{"format": [2]}', "\0"]
)
def test_a_manifest_that_is_none_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest.json cannot be read \(\w+\)"):
        shards.read_manifest(tmp_path)


def test_a_file_without_end_is_one_corrupt_image(tmp_path: Path) -> None:
    src = tmp_path / "src"
    for label in ("owl", "wren"):
        (src / label).mkdir(parents=True)
        for number in range(4):
            (src / label / f"{number}.jpg").write_bytes(picture())
    with (src / "owl/huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    code, out, err = ingest("folder", src, tmp_path / "out")
    assert (code, err) == (0, "")
    assert "owl/huge.jpg: 1,099,511,627,776 bytes, more than" in out


def test_lists_whose_images_are_elsewhere_name_the_place(tmp_path: Path) -> None:
    src = tmp_path / "src"
    (src / "photos/photos").mkdir(parents=True)
    (src / "photos/photos/1.jpg").write_bytes(picture())
    (src / "split.csv").write_text("path,label,split\nphotos/1.jpg,owl,train\n")
    code, _, err = ingest("folder", src, tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "photos/1.jpg is at photos/photos/1.jpg" in err
