"""A layout in one file outside the package is ingested by the command line, and unknown names are refused."""

import os
import subprocess
import sys
from pathlib import Path

from raysearch.data import shards

from .trees import picture, put

EXTENSION = '''
"""Images whose class is the beginning of the file name."""

from pathlib import Path

from raysearch.extend import FileLoader, Listing, Sample, layout


def recognize(root: Path) -> str:
    return "prefixes.txt" if (root / "prefixes.txt").exists() else ""


@layout("prefixes", about="class_number.jpg", looks_for="prefixes.txt", recognize=recognize)
def read_prefixes(src, test_fraction):
    names = sorted(path.name for path in Path(src).glob("*.jpg"))
    return Listing(
        tuple(
            Sample(name, name.partition("_")[0], "test" if name.endswith("0.jpg") else "train", FileLoader(src, name))
            for name in names
        )
    )
'''


def ingest(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raysearch.ingest", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)


def test_a_layout_of_ones_own_is_one_file(tmp_path: Path) -> None:
    photos = {f"{label}_{number}.jpg": picture() for label in ("wren", "owl") for number in range(3)}
    src = put(tmp_path / "src", photos | {"prefixes.txt": ""})
    extension = tmp_path / "prefix_layout.py"
    extension.write_text(EXTENSION)
    named = ingest("prefixes", str(src), str(tmp_path / "named"), "--extension", str(extension))
    assert named.returncode == 0, named.stderr
    found = ingest("auto", str(src), str(tmp_path / "found"), RAYSEARCH_EXTENSIONS=str(extension))
    assert found.returncode == 0, found.stderr
    assert "auto: prefixes, by prefixes.txt" in found.stdout
    manifest = shards.read_manifest(tmp_path / "named")
    assert manifest.layout == "prefixes"
    assert (manifest.classes, manifest.counts) == (("owl", "wren"), {"train": (2, 2), "test": (1, 1)})
    assert shards.read_manifest(tmp_path / "found").content_hash == manifest.content_hash
    images = shards.read_rows(tmp_path / "named", ["image"])["image"].to_pylist()
    assert images == [photos[name] for name in sorted(photos)]


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    for name, hint in (("zzz", "known: "), ("cubs", "; did you mean 'cub'? Known: auto, aircraft, ")):
        refused = ingest(name, str(tmp_path), str(tmp_path / "out"))
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"error: unknown layout '{name}'")
        assert refused.stderr.count("\n") == 1
        assert hint in refused.stderr
        assert all(known in refused.stderr for known in ("auto", "cub", "fewshot", "folder", "webdataset"))
    assert not (tmp_path / "out").exists()
