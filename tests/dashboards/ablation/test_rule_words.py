"""Plans that are not complete, and numbers of seeds that were raised: labeled in every view, and in no other run."""

import csv
import html
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dashboards.report import answer, live_state, terminal, write
from raysearch.runs import results

UP = "\N{BLACK UP-POINTING TRIANGLE}"


def effect(levels: Mapping[str, Any]) -> float:
    return {16: 0.0, 32: 0.0, 64: 0.03, 128: -0.04}[levels["srem.size"]]


def views(run: Path) -> dict[str, str]:
    """Everything that people and machines see of a run, as text."""
    write(run)
    study = results.read_study(run)
    table = results.load(run)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal(study, table))
    shown = {path.name: path.read_text() for path in (run / "tables").iterdir()}
    shown["page"] = html.unescape((run / "report.html").read_text().partition("<main")[2].partition("</main")[0])
    shown["answer"] = answer(study, table)
    shown["terminal"] = " ".join(console.export_text().split())
    shown["live"] = json.dumps(live_state(study, table), ensure_ascii=False)
    return shown


def verdicts(run: Path) -> dict[str, str]:
    rows = csv.DictReader(io.StringIO((run / "tables" / "variants.csv").read_text()))
    return {row["variant"]: row["verdict"] for row in rows}


@pytest.mark.parametrize("missing", [1, 8])
def test_a_plan_that_is_not_complete_has_no_verdict(make_run: Callable[..., Path], missing: int):
    names = ["reference", "srem.regions=0", "srem.size=18"]
    gone = [(name, 4) for name in names][:missing] if missing < 8 else [(name, 4) for name in [*names, "srem.size=37"]]
    run = make_run(effect=effect, absent=lambda variant, seed: (variant, seed) in gone)
    shown = views(run)
    assert UP not in "".join(shown.values()).replace("Open triangles", "")
    assert shown["answer"].startswith("No verdict before the plan is complete; better so far: srem.size=18 px")
    assert "worse so far: srem.size=37 px" in shown["answer"]
    assert " beats " not in shown["answer"]
    rows = verdicts(run)
    assert (rows["srem.size=18"], rows["srem.size=37"]) == ("better so far", "worse so far")
    decided = csv.DictReader(io.StringIO(shown["variants.csv"]))
    assert {row["decided"] for row in decided} == {"", "false"}
    for name in ("page", "variants.md", "variants.tex", "variants.json", "terminal", "live"):
        assert "rovisional: " in shown[name], name
        assert f"{len(gone)} of 40 planned cell" in shown[name], name
    assert json.loads(shown["variants.json"])["provisional"] is True
    assert "arrow" not in shown["variants.tex"]


def test_failed_cells_do_not_keep_a_plan_from_being_complete(make_run: Callable[..., Path]):
    failing = lambda variant, seed: "boom" if seed == 4 else None  # noqa: E731
    shown = views(make_run(effect=effect, failing=failing))
    assert " beats " in shown["answer"]
    assert all("rovisional" not in text or name == "variants.json" for name, text in shown.items())
    assert json.loads(shown["variants.json"])["provisional"] is False


def test_an_incomplete_plan_without_an_effect(make_run: Callable[..., Path]):
    run = make_run(absent=lambda variant, seed: seed == 4)
    start = "No verdict before the plan is complete; so far no difference is significant, and the largest difference is"
    assert answer(results.read_study(run), results.load(run)).startswith(start)


def test_seeds_that_were_raised_are_labeled_everywhere(make_run: Callable[..., Path]):
    run = make_run(effect=effect, seeds=8, looked=[3, 5])
    for name, text in views(run).items():
        if name == "variants.csv":
            assert {row["looked"] for row in csv.DictReader(io.StringIO(text))} == {"[3, 5]"}
        else:
            assert "looked at 3 times, with 3, 5 and 8 seeds" in text, name
            assert "not corrected" in text, name
    text = answer(results.read_study(run), results.load(run))
    assert "Warning: this study was looked at 3 times, with 3, 5 and 8 seeds. Levels are not corrected" in text
    assert "--seeds adaptive" in text
    assert verdicts(run)["srem.size=18"] == "better"


def test_a_plan_that_has_grown_and_is_running_was_looked_at_once(make_run: Callable[..., Path]):
    run = make_run(effect=effect, seeds=5, looked=[3], absent=lambda variant, seed: seed == 4)
    text = answer(results.read_study(run), results.load(run))
    assert text.startswith("No verdict before the plan is complete")
    assert "Warning: this study was looked at once, with 3 seeds, and its plan has grown." in text


def test_a_complete_plan_says_nothing_of_it(make_run: Callable[..., Path]):
    run = make_run(effect=effect)
    for name, text in views(run).items():
        assert "looked at" not in text, name
        assert "not corrected" not in text, name
        assert "so far" not in text, name
