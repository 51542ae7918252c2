"""Measure the time to write and to open the report of a run: 50 cells, and 10,000.

    python benchmarks/report.py [--quick]

The runs are generated, not trained, and written as a sweep writes them: a small Parquet file per cell. The script times
three steps: reading the cells and study.json; writing the report with its tables, as `python -m raysearch.report` does;
and opening the page in a headless Chromium, from its address to the last figure drawn. The last step is left out where
no Chromium is installed. The last line is JSON: the ratios of seconds per cell, 50 cells over 10,000, and the seconds.
"""

import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from script import make_parser, print_figures

import dashboards.report
from raysearch.runs import StudyRecord, results
from raysearch.studies import design

REPEATS = 3


def write_run(run_dir: Path, variants: int, seeds: int) -> int:
    """Write a finished run over one factor.

    Args:
        run_dir: directory of the run.
        variants: number of values of the factor.
        seeds: number of seeds per variant. Each cell has 20 iterations.

    Returns:
        The number of cells.
    """
    levels = [1e-5 * (index + 1) for index in range(variants)]
    rate = design.factor("train.lr", *levels)
    ablation = design.Ablation("Which rate?", "retrieval", {"train.lr": levels[0]}, [rate], seeds=seeds)
    planned = design.plan_ablation("rates", ablation, "laptop", "d" * 64)
    rng = random.Random(0)
    for cell in planned.cells:
        results.write_cell(run_dir / "cells", _record(cell, rng))
    names = [
        {"name": variant.name, "settings": variant.settings, "declared": variant.declared}
        for variant in planned.variants
    ]
    configs = [json.loads(variant.config.model_dump_json()) for variant in planned.variants]
    study: dict[str, Any] = {"kind": "ablation", "study": "rates", "question": ablation.question, "task": "retrieval"}
    study |= {"design": "one_at_a_time", "factors": ["train.lr"], "reference": planned.reference.name}
    study |= {"metric": "map", "mode": "max", "seeds": list(planned.seeds), "profile": "laptop"}
    study["variants"] = [variant | {"config": config} for variant, config in zip(names, configs, strict=True)]
    study["cells"] = [{"cell": cell.hash, "variant": cell.variant.name, "seed": cell.seed} for cell in planned.cells]
    results.write_study(run_dir, StudyRecord.model_validate(study))
    return len(planned.cells)


def _record(cell: design.Cell, rng: random.Random) -> dict[str, Any]:
    value = 0.6 + rng.gauss(0, 0.02)
    steps = [
        {"iteration": at, "phase": "train", "loss": 2 / at, "map_validation": 0.5, "seconds": 1.0}
        for at in range(1, 21)
    ]
    return {
        "seed": cell.seed, "cell": cell.hash, "status": "finished", "error": None, "map": value, "seconds": 40 * value,
        "config": json.dumps(cell.variant.config.canonical(), sort_keys=True), "gpu_seconds": 0.0, "epochs": 20,
        "attempts": 1, "data": "d" * 64, "code_version": 1, "environment": json.dumps({"host": "laptop"}),
        "metric_ids": json.dumps({"map": "map@all/expected-ties/test"}), "history": json.dumps(steps),
    }  # fmt: skip


def time_writing(run_dir: Path) -> dict[str, float]:
    """Return the seconds of CPU and clock to read a run's cells and to write its report."""
    seconds: dict[str, float] = {}
    for name, work in (
        ("read", lambda: results.save_table(run_dir)),
        ("write", lambda: dashboards.report.write(run_dir)),
    ):
        cpu = time.process_time()
        clock = time.perf_counter()
        work()
        seconds |= {f"{name}_cpu": time.process_time() - cpu, f"{name}_clock": time.perf_counter() - clock}
    return seconds


def time_opening(page: Path) -> dict[str, float | None]:
    """Return the seconds of CPU and clock to open a page until its last figure; None without a browser."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.browser import CHROMIUM, chromium

    if CHROMIUM is None:
        return {"open_cpu": None, "open_clock": None}
    with chromium() as browser:
        tab = browser.open("about:blank")
        tab.call("Performance.enable")
        started = time.perf_counter()
        tab.go(page.as_uri())
        figures = "document.querySelectorAll('script[data-figure]').length"
        tab.wait_for(f"document.querySelectorAll('.js-plotly-plot').length == {figures}")
        clock = time.perf_counter() - started
        metrics = {metric["name"]: metric["value"] for metric in tab.call("Performance.getMetrics")["metrics"]}
        return {"open_cpu": metrics["ProcessTime"], "open_clock": clock}


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="one turn, and 1,000 cells instead of 10,000")
    quick = parser.parse_args().quick
    figures: dict[str, dict[str, float | None]] = {}
    print(f"{'cells':>7} {'page':>9} {'read':>16} {'report':>16} {'opens':>16}   CPU seconds (clock seconds)")
    for variants, seeds in ((10, 5), (200, 5) if quick else (2000, 5)):
        run_dir = Path(tempfile.mkdtemp(prefix="report-"))
        try:
            cells = write_run(run_dir, variants, seeds)
            turns = [time_writing(run_dir) for _ in range(1 if quick else REPEATS)]
            best = min(turns, key=lambda seconds: seconds["write_cpu"])
            size = (run_dir / "report.html").stat().st_size / 1e6
            opening = time_opening(run_dir / "report.html")
        finally:
            shutil.rmtree(run_dir)
        figures[str(cells)] = {"cells": cells, **best, **opening, "megabytes": size}
        columns = [f"{best[f'{name}_cpu']:8.2f} ({best[f'{name}_clock']:5.2f})" for name in ("read", "write")]
        columns += [
            "none" if None in opening.values() else f"{opening['open_cpu']:8.2f} ({opening['open_clock']:5.2f})"
        ]
        print(f"{cells:>7,} {size:>6.1f} MB {columns[0]:>16} {columns[1]:>16} {columns[2]:>16}", flush=True)
    small, large = figures.values()
    ratio = {
        name: (small[f"{name}_cpu"] / small["cells"]) / (large[f"{name}_cpu"] / large["cells"])  # type: ignore[operator]
        for name in ("read", "write")
    }
    print_figures({"small_over_large_a_cell": ratio, "seconds": figures})


if __name__ == "__main__":
    main()
