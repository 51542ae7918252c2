"""A report and a comparison without a difference state what is missing."""

import re
from pathlib import Path

import pytest

import dashboards.comparison.page
import dashboards.report
from raysearch.core import UserError
from raysearch.runs import results

from .written import write

THREE = {0: 0.60, 1: 0.61, 2: 0.62}
LATER = {3: 0.60, 4: 0.61, 5: 0.62}
FAILED = dict.fromkeys(THREE)
REPORTS = {
    "one variant": ({"only": THREE}, "Nothing to compare: the run has one variant, and a difference needs two"),
    "no variant": ({}, "No answer: the study has no variant and no cell"),
    "other seeds": (
        {"a": THREE, "b": LATER},
        "No answer yet: no seed in common: 0-2 of the reference, 3-5 of the others",
    ),
    "too few": ({"a": {0: 0.6}, "b": {0: 0.7}}, "No answer yet: 1 seed: an interval needs three"),
    "all failed": ({"a": FAILED, "b": FAILED}, "No answer: no cell has finished; the first error is: boom"),
    "others failed": ({"a": THREE, "b": FAILED}, "No answer yet: only the reference has finished cells"),
    "the reference failed": ({"a": FAILED, "b": THREE}, "No answer: the reference has no finished cell"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_states_what_is_missing(name: str, tmp_path: Path) -> None:
    values, expected = REPORTS[name]
    run = write(tmp_path / "run", values)
    study = results.read_study(run)
    table = results.load(run)
    answer = dashboards.report.answer(study, table)
    assert answer.startswith(expected)
    page = dashboards.report.write(run).read_text()
    shown = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", page.partition("</header>")[0]))
    assert expected.partition(":")[2].partition(";")[0].strip() in shown
    assert dashboards.report.live_state(study, table)["answer"] == answer


COMPARISONS = {
    "no variant in common": (
        {"a": THREE},
        {"b": THREE, "c": THREE},
        "Nothing to compare: no variant of first has its name or its config in another run; first has 'a', "
        "the others have 'b' and 'c'.",
    ),
    "no cell": ({"a": THREE}, {}, "Nothing to compare: second has no cell."),
    "no cell in the first": ({}, {"a": THREE}, "Nothing to compare: first has no cell."),
    "all failed": ({"a": THREE}, {"a": FAILED}, "Nothing to compare: no cell has finished in second."),
    "too few seeds": ({"a": {0: 0.6}}, {"a": {1: 0.6}}, "No answer yet: no difference has an interval"),
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_states_what_is_missing(name: str, tmp_path: Path) -> None:
    first, second, expected = COMPARISONS[name]
    paths = [write(tmp_path / "first", first), write(tmp_path / "second", second)]
    comparison = dashboards.comparison.page.read_comparison(paths)
    assert dashboards.comparison.page.answer_sentence(comparison).startswith(expected)
    page = dashboards.comparison.page.write_comparison(comparison, tmp_path / "out").read_text()
    assert expected.partition(":")[0] in page


def test_a_run_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"a": THREE})
    link = tmp_path / "link"
    link.symlink_to(run)
    for second in (run, run / ".." / "run", link):
        with pytest.raises(UserError, match="is given twice; name each run once"):
            dashboards.comparison.page.read_comparison([run, second])
