"""What could be ingested before keeps its content hash, and with it every cell that was run on it; since format 2."""

import base64
from pathlib import Path

import pytest

from raysearch.data import shards

from .trees import put, read

# JPEG bytes kept here, since Pillow's own encoder may change
PHOTO = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7gYKBTmCNl4x9"
    "lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHz/wAARCAACAAID"
    "ASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAT/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFQEBAQAAAAAAAAAAAAAAAAAAAQX/xAAUEQEA"
    "AAAAAAAAAAAAAAAAAAAA/9oADAMBAAIRAxEAPwCEALr/2Q=="
)
CSV = "path,label,split\nx/0.jpg,b,train\nx/1.jpg,a,val\nx/2.jpg,b,test\n"
FORMS: dict[str, tuple[str, list[str], str]] = {
    "class folders": (
        "folder",
        [f"{c}/{n}.jpg" for c in ("crow", "wren") for n in range(6)],
        "3c1efbcf6a045f76892ab385",
    ),
    "split.csv": ("folder", ["x/0.jpg", "x/1.jpg", "x/2.jpg"], "b62928cc87e47b919de15a55"),
    "parts": ("folder", ["train/a/1.jpg", "val/a/1.jpg", "test/a/1.jpg"], "072cf3bd86dd7c1b80088b7e"),
    "parts of classes": ("fewshot", ["train/a/1.jpg", "val/c/1.jpg", "test/b/1.jpg"], "2de68d0d90e91f818adb718a"),
    "meta": ("fewshot", ["meta-train/a/1.jpg", "meta-val/c/1.jpg", "meta-test/b/1.jpg"], "9c92a53af71144e7fbdff98f"),
}


@pytest.mark.parametrize("form", FORMS)
def test_content_hash(form: str, tmp_path: Path) -> None:
    layout, files, expected = FORMS[form]
    put(tmp_path / "src", dict.fromkeys(files, PHOTO))
    if form == "split.csv":
        put(tmp_path / "src", {"split.csv": CSV})
    found = read(layout, tmp_path / "src")
    manifest = shards.write_shards(found, tmp_path / "out", name="n", layout=layout, classes=found.classes)
    assert manifest.content_hash[:24] == expected
