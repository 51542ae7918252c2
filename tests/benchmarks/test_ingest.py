"""The benchmark of ingest: both sides keep the same images, and `--quick` ends with its figures."""

import json
import sys
from pathlib import Path

import ingest
import pyarrow.parquet as pq
import pytest

from raysearch.data import layouts, shards


def test_both_sides_keep_the_same_images(tmp_path: Path) -> None:
    size = ingest.draw_tree(tmp_path / "src", 700, 16)
    ingest.pillow_loop(tmp_path / "src", tmp_path / "loop")
    listing = layouts.read_folder(str(tmp_path / "src"))
    manifest = shards.write_shards(listing, tmp_path / "out", name="n", layout="folder", on_corrupt="fail")
    usual = pq.read_table(tmp_path / "loop").select(["image", "label"]).to_pylist()
    ours = shards.read_rows(tmp_path / "out", ["image", "label"]).to_pylist()
    assert usual == ours
    assert len({row["image"] for row in usual}) == manifest.images == 700
    assert sum(len(row["image"]) for row in usual) == size


@pytest.mark.slow
def test_quick(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ingest", "--quick", "--images", "1000"])
    ingest.main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert next(iter(figures)) == "ingest_over_pil_loop"
    assert figures["images"] == 1000
    assert figures["ingest_over_pil_loop_with_start"] < figures["ingest_over_pil_loop"]
