"""The final evaluation of a search has a verdict when all its fresh seeds have ended, and not before."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards.report import answer, write
from raysearch.runs import results


@pytest.mark.parametrize("gain", [0.05, -0.05])
def test_a_final_evaluation_that_is_running_has_no_verdict(make_search: Callable[..., Path], gain: float):
    run = make_search(trials=6, gain=gain)
    complete = answer(results.read_study(run), results.load(run))
    assert (" beats the reference by " if gain > 0 else " is significantly worse than the reference") in complete
    last = [cell for cell in results.read_study(run).cells if cell.stage == "judge"][-1]
    (run / "cells" / f"{last.cell}.parquet").unlink()
    text = answer(results.read_study(run), results.load(run))
    word = "better" if gain > 0 else "worse"
    assert f" is {word} so far: " in text
    assert "there is no verdict before all fresh seeds have ended" in text
    write(run)
    assert f",{word} so far," in (run / "tables" / "judged.csv").read_text()
