"""The notebook of the documentation runs in a real kernel: its study, its figure and its table."""

import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from .pages import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
SECONDS = 900  # for one cell on a busy machine


def test_the_notebook_holds_no_output() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert [cell.outputs for cell in cells if cell.cell_type == "code" and cell.outputs] == []


@pytest.mark.slow
def test_the_notebook_runs_and_shows_its_effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PATH", str(Path(sys.prefix) / "share" / "jupyter"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in outputs if "data" in output]
    figures = [data["application/vnd.plotly.v1+json"] for data in shown if "application/vnd.plotly.v1+json" in data]
    assert len(figures) == 1
    assert any(len(trace["x"]) == 3 for trace in figures[0]["data"]), "the difference of every seed"
    pages = "".join(data.get("text/html", "") for data in shown)
    ran = [output.data for output in notebook.cells[2].outputs if "data" in output]
    assert len(ran) == 2, "the progress and the run, and no line for people"
    assert "6 of 6 cells ended" in ran[0]["text/html"]
    assert "<th>verdict</th>" in pages
    assert (tmp_path / "runs" / "circle" / "report.html").is_file()
