"""`raysearch.load`: the tables, the answer and the figures of a run, without torch and Ray."""

import subprocess
import sys
from pathlib import Path

import plotly.graph_objects as go
import pytest

import raysearch
from raysearch.api.notebook import progress_html
from raysearch.core import UserError
from raysearch.messages import ProgressMessage

from ..dashboards import written

VALUES = {"reference": {0: 0.60, 1: 0.62, 2: 0.61}, "<wide>": {0: 0.70, 1: 0.722, 2: 0.711}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return written.write(tmp_path / "run", VALUES, seeds=[0, 1, 2], question="Is <b>wide</b> better?")


def test_the_table_needs_neither_torch_nor_ray(run: Path) -> None:
    code = (
        "import sys, raysearch;"
        f"loaded = raysearch.load({str(run)!r});"
        "print(loaded.table().num_rows, len(loaded.to_pandas()), loaded.figure('effects').data != ());"
        "print([name for name in ('torch', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["6 6 True", "[]"]


def test_the_comparison_is_that_of_the_report(run: Path) -> None:
    loaded = raysearch.load(run)
    wide = loaded.compare().to_pylist()[1]
    assert (wide["verdict"], wide["seeds"]) == ("better", 3)
    assert wide["difference"] == pytest.approx(0.101)  # the mean of 0.100, 0.102 and 0.101
    assert wide["difference_interval_low"] < 0.101 < wide["difference_interval_high"]
    assert loaded.answer().startswith("<wide> beats the reference")
    assert loaded.answer() in repr(loaded)


def test_a_figure_is_one_of_plotly(run: Path) -> None:
    loaded = raysearch.load(run)
    assert isinstance(loaded.figure("effects"), go.Figure)
    with pytest.raises(UserError, match="these results give no figure 'effect'; did you mean 'effects'"):
        loaded.figure("effect")
    with pytest.raises(UserError, match="these results give no figure 'heat_map'"):
        loaded.figure("heat_map")


def test_a_notebook_shows_texts_of_a_run_as_texts(run: Path) -> None:
    shown = raysearch.load(run)._repr_html_()
    assert "&lt;wide&gt;" in shown
    assert "<wide>" not in shown
    assert "<b>wide</b>" not in shown


def test_a_directory_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run directory"):
        raysearch.load(tmp_path)


def test_progress_is_text_and_bar() -> None:
    message = ProgressMessage(
        stage="cells",
        total=4,
        ended=3,
        finished=2,
        failed=1,
        stopped=0,
        running=["a seed 1"],
        seconds=3.0,
        seconds_left=61.0,
    )
    shown = progress_html(message, ["a seed 0: <script>"])
    assert "3 of 4 cells ended · 1 running · 1 failed · about 1 min 01 s left" in shown
    assert 'max="4" value="3"' in shown
    assert "&lt;script&gt;" in shown
