"""One study with its images in memory and with its images streamed: the same cells, the same numbers."""

import json
from pathlib import Path

import pytest

from raysearch.data import synthetic

from ...study_json import read_study_json
from .. import sweeps


@pytest.mark.slow
def test_resident_and_streamed_images_give_the_same_numbers(tmp_path: Path) -> None:
    """Passes of 5,600 images, which Ray Data decodes, and of fewer, which the worker does; with a part held out."""
    data = synthetic.ensure_shards(
        synthetic.SyntheticSpec(classes=8, train_per_class=90, test_per_class=20, side=32), tmp_path
    )
    sweeps.prepare(tmp_path, data, iterations=2, variants=2, seeds=1)
    settings = [word for path in ("data.validation=0.2", "train.samples=700") for word in ("--set", path)]
    with sweeps.Sweeps(tmp_path) as drivers:
        said = {
            mode: sweeps.finish(drivers.start(mode, "--feed", mode, *settings)) for mode in ("resident", "streamed")
        }
    assert all(f"decoded, {mode}: as asked" in text for mode, text in said.items())
    assert "1 trials at a time" in said["streamed"], "one of two CPUs is left to decoding"
    rows = {mode: sweeps.rows(tmp_path, mode) for mode in said}
    assert len(rows["resident"]) == 2
    for one, other in zip(rows["resident"], rows["streamed"], strict=True):
        assert one["cell"] == other["cell"]
        assert one["status"] == other["status"] == "finished"
        for metric in ("map", "map_index", "map_validation", "r_precision"):
            assert one[metric] == other[metric]
        histories = [sweeps.numbers(json.loads(row["history"])) for row in (one, other)]
        assert histories[0] == histories[1]
    assert read_study_json(tmp_path / "streamed" / "run")["feed"][0]["mode"] == "streamed"
