"""The report of an explanation by given numbers: claims, holes, interaction, and records from elsewhere."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dashboards.comparison.view import read_comparison
from dashboards.explanation.view import ExplanationView, explanation_view
from dashboards.report import answer, live_state, write
from raysearch.core import UserError
from raysearch.runs import results

from ...study_json import read_study_json, write_study_json
from .. import written

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<b>"
NOISE = (0.0, 0.001, -0.002, 0.001, 0.0005)


def write_run(
    folder: Path, names: list[str], values: Mapping[str, float], path: list[str] | None = None, **changes: Any
) -> Path:
    """Write an explanation with five seeds; `values` are means of its configs by name."""
    cells = {
        name: {seed: mean + noise * (1 + index / 7) for seed, noise in enumerate(NOISE)}
        for index, (name, mean) in enumerate(values.items())
    }
    explanation = {
        "search": "runs/search",
        "choosing_seeds": [5, 6, 7],
        "groups": [
            {
                "label": "",
                "changes": [{"name": name, "before": {name: 0}, "after": {name: 1}} for name in names],
                "path": names if path is None else path,
            }
        ],
    }
    run = written.write(folder / "run", cells, kind="explanation", seeds=[0, 1, 2, 3, 4], explanation=explanation)
    record = read_study_json(run)
    for cell in record["cells"]:
        cell["stage"] = "judge"
    write_study_json(run, record | changes)
    return run


def view_of(run: Path) -> ExplanationView:
    return explanation_view(results.read_study(run), results.load(run))


def answer_of(run: Path) -> str:
    return answer(results.read_study(run), results.load(run))


def test_a_change_whose_gain_depends_on_another_is_mixed(tmp_path: Path) -> None:
    """Alone the first gains; in the best config it costs."""
    values = {"reference": 0.5, "reference with a": 0.55, "reference with b": 0.7, "best": 0.65}
    run = write_run(tmp_path, ["a", "b"], values)
    first, second = view_of(run).changes
    assert (first.step["verdict"], first.left_out["verdict"], first.verdict) == ("better", "worse", "mixed")
    assert second.verdict == "better"
    assert second.left_out is second.step
    assert "the gain of a depends on the other changes" in answer_of(run)
    shapley = {change.name: change.shapley for change in view_of(run).changes}
    assert shapley["a"] is not None
    assert shapley["b"] is not None
    assert shapley["a"].mean == pytest.approx((0.05 - 0.05) / 2, abs=0.001)
    assert shapley["b"].mean == pytest.approx((0.2 + 0.1) / 2, abs=0.001)


def test_a_change_that_changes_no_number_has_no_interval(tmp_path: Path) -> None:
    run = write_run(tmp_path, ["a"], {"reference": 0.5})
    record = read_study_json(run)
    record["cells"] += [{**cell, "variant": "best"} for cell in record["cells"]]
    write_study_json(run, record)
    (change,) = view_of(run).changes
    assert change.step["verdict"] == "no interval"
    assert change.step["refused"] == "the same value as the reference with all 5 seeds"
    write(run)


def test_before_all_cells_have_ended_nothing_is_claimed(tmp_path: Path) -> None:
    values = {"reference": 0.5, "reference with a": 0.6, "reference with b": 0.5, "best": 0.7}
    run = write_run(tmp_path, ["a", "b"], values)
    record = read_study_json(run)
    record["cells"].append({"cell": "f" * 20, "variant": "best", "seed": 9, "stage": "judge"})
    write_study_json(run, record)
    assert view_of(run).changes[0].step["verdict"] == "better so far"
    assert "there is no verdict before all planned cells have ended" in answer_of(run)
    begun = write_run(tmp_path / "begun", ["a", "b"], {"reference": 0.5}, path=["a"])
    assert answer_of(begun).startswith("No answer yet: the path has taken 1 of its changes; it lacks b")
    write(begun)
    empty = write_run(tmp_path / "empty", ["a", "b"], {}, path=[])
    write(empty)
    assert live_state(results.read_study(empty), results.load(empty))["table"]["rows"] == []


def test_tables_agree(tmp_path: Path) -> None:
    values = {"reference": 0.5, "reference with a": 0.6, "reference with b": 0.5, "best": 0.7}
    run = write_run(tmp_path, ["a", "b"], values)
    write(run)
    content = json.loads((run / "tables" / "changes.json").read_text())
    assert [change["change"] for change in content["changes"]] == ["a", "b"]
    lines = (run / "tables" / "changes.csv").read_text().splitlines()
    assert len(lines) == 3
    assert "+0.100" in (run / "tables" / "changes.md").read_text()
    state = live_state(results.read_study(run), results.load(run))
    assert [row["name"] for row in state["table"]["rows"]] == [
        "a 0 \N{RIGHTWARDS ARROW} 1",
        "b 0 \N{RIGHTWARDS ARROW} 1",
    ]


def test_a_look_decides_and_the_rest_goes_on(tmp_path: Path) -> None:
    """The verdict of a look stays. The other comparison waits for more seeds, so the explanation is not complete."""
    values = {"reference": 0.5, "reference with a": 0.6, "reference with b": 0.5, "best": 0.6}
    run = write_run(tmp_path, ["a", "b"], values, looks=[3, 8], margin=1e-6)
    view = view_of(run)
    assert not view.is_complete
    first, second = view.changes
    assert (first.step["verdict"], first.step["seeds"], first.left_out["verdict"]) == ("better", 3, "better")
    assert (second.verdict, second.raced_step and second.raced_step.is_open) == ("undecided", True)
    assert view.cells_saved == 2 * 8 - 2 * 5, "the ends of the open comparison count with all seeds"
    text = answer_of(run)
    assert text.startswith("a (+0.10")
    assert "b does nothing that 3 seeds can show; 1 comparison goes on to 8 seeds." in text
    page = write(run).read_text()
    assert "next look: 8 seeds" in page
    assert "look 1, 3 seeds" in page
    ended = write_run(tmp_path / "ended", ["a", "b"], values, looks=[3, 5])
    assert view_of(ended).is_complete
    assert "at the last look" in write(ended).read_text()
    begun = write_run(tmp_path / "begun", ["a", "b"], values, looks=[6, 8])
    assert answer_of(begun) == "No answer yet: the first look, at 6 seeds, has not ended."
    write(begun)


def test_a_complete_race_is_complete_in_a_comparison_of_runs(tmp_path: Path) -> None:
    """No config needs the seeds of a look that its comparisons did not reach."""
    values = {"reference": 0.5, "reference with a": 0.6, "reference with b": 0.5, "best": 0.7}
    raced = write_run(tmp_path, ["a", "b"], values, looks=[3, 20])
    assert view_of(raced).is_complete
    other = write_run(tmp_path / "other", ["a", "b"], values)
    (note,) = read_comparison([other, raced]).rule_notes
    assert "is adaptive: its results chose its numbers of seeds" in note


def test_texts_of_a_record_run_nothing(tmp_path: Path) -> None:
    name = f"a{EVIL}"
    values = {"reference": 0.5, f"reference with {name}": 0.6, "reference with b": 0.5, "best": 0.7}
    run = write_run(tmp_path, [name, "b"], values, question=EVIL, study=EVIL)
    record = read_study_json(run)
    record["explanation"]["search"] = EVIL
    record["explanation"]["groups"][0]["changes"][0]["after"] = {EVIL: EVIL}
    write_study_json(run, record)
    page = write(run).read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_records_that_contradict_themselves_are_reported(tmp_path: Path) -> None:
    odd = write_run(tmp_path, ["a", "b"], {"reference": 0.5}, path=["b", "b", "unknown"])
    write(odd)
    many = write_run(tmp_path / "many", [str(number) for number in range(3000)], {"reference": 0.5})
    with pytest.raises(UserError, match="more than 2,000 changes"):
        write(many)


def test_a_change_without_a_result_is_not_said_to_do_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path, ["a", "b", "c"], {"reference": 0.5, "reference with a": 0.55, "best": 0.56})
    assert {change.name: change.verdict for change in view_of(run).changes}["b"] == "no result"
    assert "b and c have no result" in answer_of(run)
    assert "nothing that" not in answer_of(run)
