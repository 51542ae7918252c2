"""The comparison with a script: which cells it runs, cold on both sides, and that other numbers end it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import against_a_script as benchmark
import pytest
from rich.console import Console

from raysearch.data import synthetic
from raysearch.engine.drivers import study_data
from raysearch.studies.configs import overrides, profile_settings

FEW = synthetic.list_samples(synthetic.SyntheticSpec(classes=2, train_per_class=2, test_per_class=1, side=16))


def test_the_cells_are_those_of_both_sides() -> None:
    for count in benchmark.SIZES:
        cells = benchmark.plan_cells(count)
        assert len({(cell.variant.name, cell.seed) for cell in cells}) == count
        for cell in cells:
            task, _, seed, *words = benchmark.train_words(cell)
            plain = overrides.resolve(task, profile_settings(task, "laptop") | overrides.parse(words[1::2], task))
            assert plain == cell.variant.config
            assert int(seed) == cell.seed
    with pytest.raises(SystemExit, match="multiples of 4"):
        benchmark.plan_cells(6)


def test_a_side_starts_with_the_drawn_data_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    drawn = tmp_path / "drawn" / "birds"
    drawn.mkdir(parents=True)
    (drawn / "shard").write_text("images")
    (drawn.parent / "features").mkdir()
    environment = benchmark.cold_environment(tmp_path / "side", drawn)
    assert "RAY_ADDRESS" not in environment
    cache = Path(environment["RAYSEARCH_CACHE"])
    assert [str(path.relative_to(cache)) for path in sorted(cache.rglob("*"))] == ["birds", "birds/shard"]


def test_the_images_are_those_that_the_study_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "drawn"))
    monkeypatch.setattr(synthetic.dataset, "list_samples", lambda spec: FEW)
    drawn = benchmark.draw_embedded(tmp_path / "drawn")
    used = study_data.locate_shards(None, "retrieval", Console(quiet=True))
    assert str(used) == str(drawn)
    environment = benchmark.cold_environment(tmp_path / "side", drawn)
    benchmark.check_drawn(environment, drawn)
    (Path(environment["RAYSEARCH_CACHE"]) / "synthetic-other").mkdir()
    with pytest.raises(SystemExit, match="synthetic-other"):
        benchmark.check_drawn(environment, drawn)


def test_other_numbers_end_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [(cell.variant.name, cell.seed) for cell in benchmark.plan_cells(4)]
    sweep = dict.fromkeys(names, 0.5)
    monkeypatch.setattr(benchmark, "run_sweep", lambda *_: benchmark.Side(3.0, 0.5, sweep, 1.0))
    for script, message in (
        (sweep | {names[1]: 0.5001}, re.escape(f"another mAP in {names[1:2]}")),
        (dict.fromkeys(names[:3], 0.5), re.escape(f"other cells: {names[3:]}")),
    ):
        monkeypatch.setattr(benchmark, "run_script", lambda *_, metrics=script: benchmark.Side(4.0, 0.4, metrics))
        with pytest.raises(SystemExit, match=message):
            benchmark.compare(4, 1, tmp_path, tmp_path)


@pytest.mark.slow
def test_both_sides_compute_the_same_numbers() -> None:
    command = [sys.executable, benchmark.__file__, "--quick"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert next(iter(figures)) == "cells_4"
    assert [(turn["side"], turn["cells"]) for turn in figures["turns"]] == [("sweep", 4), ("script", 4)]
    assert all(0 < turn["trained"] < 1 for turn in figures["turns"])
