"""The benchmark of evaluation: its data match their description, its loop computes mAP, and its last line is JSON."""

import json
import subprocess
import sys

import evaluation as benchmark
import numpy as np
import pytest

from raysearch.tasks.metrics import ClassCodes, Ranking

SMALL = benchmark.Size(60, 200, 8)


def test_the_loop_by_hand() -> None:
    items = np.array([[1, 1, 1], [1, 1, -1], [1, -1, -1], [-1, -1, -1]], np.float32)
    # Relevant at ranks 2 and 4; the other query has none.
    queries = np.ones((2, 3), np.float32)
    loop = benchmark.argsort_loop(queries, np.array([5, 6]), items, np.array([1, 5, 1, 5]))
    assert loop == pytest.approx((1 / 2 + 2 / 4) / 2 / 2)


def test_codes_are_drawn_as_the_docstring_says() -> None:
    trained = Ranking.from_codes(*benchmark.trained_codes(SMALL)).database
    described = ClassCodes.from_database(trained)
    assert described.distinct == described.classes == 8
    assert described.codes_per_class == 9 / 8  # one in fifty, and of eight one
    assert len(Ranking.from_codes(*benchmark.distinct_codes(SMALL)).database.codes) == 200
    short = benchmark.Size(5, 200, 2, bits=12)  # at twelve bits some are drawn again
    assert len(np.unique(benchmark.distinct_codes(short)[2], axis=0)) == 200


def test_sides_that_differ_end_the_script() -> None:
    data = benchmark.trained_codes(SMALL)
    loop = benchmark.argsort_loop(*data)
    assert benchmark.check("same", data, loop)["map_argsort"] == loop
    with pytest.raises(SystemExit, match="does not fit"):
        benchmark.check("other", data, loop - 0.5)


@pytest.mark.slow
def test_a_quick_run_ends_with_its_figures() -> None:
    command = [sys.executable, benchmark.__file__, "--quick", "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert list(figures)[:2] == ["trained_ratio_loop_over_histograms", "different_ratio_loop_over_histograms"]
    assert {"scale_seconds", "scale_peak_gib", "trained", "different", "scale"} <= set(figures)
    assert figures["scale"]["distinct_codes"] == 3000
    for drawn in ("trained", "different"):
        assert figures[f"{drawn}_ratio_loop_over_histograms"] > 0
        assert figures[drawn]["map_worst"] <= figures[drawn]["map_argsort"] <= figures[drawn]["map_best"]
