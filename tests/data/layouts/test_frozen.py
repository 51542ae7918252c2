"""What could be ingested before keeps its content hash, and with it every cell that was ever run on it."""

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
        "b5faebc489c01cad4d9a13a8",
    ),
    "split.csv": ("folder", ["x/0.jpg", "x/1.jpg", "x/2.jpg"], "6037d26b394afe821b0dd23c"),
    "parts": ("folder", ["train/a/1.jpg", "val/a/1.jpg", "test/a/1.jpg"], "a75ab03902d0859f5da99a82"),
    "parts of classes": ("fewshot", ["train/a/1.jpg", "val/c/1.jpg", "test/b/1.jpg"], "ab027e3467a9873a6213ff80"),
    "meta": ("fewshot", ["meta-train/a/1.jpg", "meta-val/c/1.jpg", "meta-test/b/1.jpg"], "8b87fbbcd4f8535d598af2a0"),
}


@pytest.mark.parametrize("form", FORMS)
def test_content_hash(form: str, tmp_path: Path) -> None:
    layout, files, expected = FORMS[form]
    put(tmp_path / "src", dict.fromkeys(files, PHOTO))
    if form == "split.csv":
        put(tmp_path / "src", {"split.csv": CSV})
    found = read(layout, tmp_path / "src")
    manifest = shards.write(found, tmp_path / "out", name="n", layout=layout, classes=found.classes)
    assert manifest.content_hash[:24] == expected
