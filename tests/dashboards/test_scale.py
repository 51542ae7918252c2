"""A report of 50 cells is there at once, one of 10,000 soon; time is the process's own, for busy machines."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import dashboards.report

from ..browser import chromium, needs_chromium
from ..study_json import read_study_json, write_study_json
from .conftest import ablation, write_run


def large_run(run_dir: Path, variants: int = 2000, seeds: int = 5) -> pa.Table:
    """A run of so many cells; its table is made here, since the files of its cells are not what is timed."""
    names = ["reference", *(f"train.lr={index}" for index in range(1, variants))]
    steps = [{"iteration": at, "phase": "train", "loss": 2 / at, "map_validation": 0.5} for at in range(1, 21)]
    rng, config = random.Random(0), {"data": {"side": 64}, "train": {"lr": 0.1}}
    shared = {"study": "s", "status": "finished", "error": None, "gpu_seconds": 0.0, "epochs": 20, "attempts": 1}
    shared |= {"metric_ids": json.dumps({"map": "map@all/test"}), "code_version": 1, "environment": "{}"}
    rows: list[dict[str, Any]] = [
        {**shared, "variant": name, "seed": seed, "cell": f"{index}-{seed}", "config": name, "train.lr": index}
        | {"map": rng.gauss(0.6, 0.02), "seconds": 30 + rng.random(), "history": json.dumps([*steps, {"loss": seed}])}
        for seed in range(seeds)
        for index, name in enumerate(names)
    ]  # fmt: skip
    study = {"study": "s", "factors": ["train.lr"], "design": "one_at_a_time", "seeds": list(range(seeds))}
    settings = [{"train.lr": index} for index in range(variants)]
    study["variants"] = [{"name": n, "settings": s, "config": config} for n, s in zip(names, settings, strict=True)]
    study["cells"] = [{key: row[key] for key in ("cell", "variant", "seed")} for row in rows]
    write_study_json(run_dir, study)
    return pa.Table.from_pylist(rows)


def test_fifty_cells_are_reported_in_three_seconds(tmp_path: Path):
    run = write_run(tmp_path / "run", ablation(), seeds=7)
    assert len(read_study_json(run)["cells"]) == 56
    started = time.process_time()
    page = dashboards.report.write(run)
    assert time.process_time() - started < 3
    assert page.stat().st_size < 2e6  # 4.8 MB of plotly, compressed


@pytest.mark.slow  # its bounds on time need a quiet machine
@needs_chromium
def test_ten_thousand_cells_are_reported_in_twenty_seconds_and_open_in_five(tmp_path: Path):
    table = large_run(tmp_path)
    assert table.num_rows == 10_000
    started = time.process_time()
    page = dashboards.report.write(tmp_path, table)
    assert time.process_time() - started < 14  # reading 10,000 cell files takes another six
    assert page.stat().st_size < 7e6
    with chromium() as browser:
        tab = browser.open("about:blank")
        tab.call("Performance.enable")
        tab.go(page.as_uri())
        figures = tab.evaluate("document.querySelectorAll('script[data-figure]').length")
        assert tab.wait_for("document.querySelectorAll('.js-plotly-plot').length") == figures > 5
        metrics = {one["name"]: one["value"] for one in tab.call("Performance.getMetrics")["metrics"]}
        assert metrics["ProcessTime"] < 10  # of the page's process; 5 on a quiet machine
        print(f"opened in {metrics['ProcessTime']:.1f} s of the page's process")
        assert list(tab.errors) == []
