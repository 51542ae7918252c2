"""The main table of a study on several data sets, against a plain second writing and published numbers."""

import csv
import itertools
import re
import shutil
import statistics
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dashboards import report
from raysearch.runs import results

from .. import several_sets_runs as planted

LAYOUTS = {"CUB": "cub", "Aircraft": "aircraft", "Mine": "folder"}
EFFECTS = {("CUB", "ITQ"): 0.05, ("Aircraft", "LSH"): -0.05, ("Aircraft", "ITQ"): 0.0, ("Mine", "SH"): 0.02}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("sets") / "run"
    planted.write(run_dir, planted.ablation(), LAYOUTS, planted.noisy(EFFECTS))
    report.write(run_dir)
    return run_dir


def _rows(run_dir: Path) -> dict[str, dict[str, str]]:
    return {row["method"]: row for row in csv.DictReader(_tables(run_dir)["main.csv"].splitlines())}


def _tables(run_dir: Path) -> dict[str, str]:
    """The texts of the tables, without the pages, which take longer."""
    study = results.read_study(run_dir)
    kind = report.report_kind(study)
    return kind.files(kind.view(study, results.load(run_dir)))


def test_numbers_are_the_means_of_each_set_and_nothing_is_averaged_over_sets(run: Path) -> None:
    score = planted.noisy(EFFECTS)
    rows = _rows(run)
    for data_set, method, bits in itertools.product(LAYOUTS, planted.METHODS, (12, 24)):
        values = [score(data_set, method, bits, seed) for seed in range(5)]
        assert float(rows[method][f"{data_set} {bits} mean"]) == pytest.approx(statistics.mean(values))  # type: ignore[arg-type]
    assert not [title for title in rows["ADSH"] if title.split()[0] not in {*LAYOUTS, "method"}]


def test_verdicts_are_paired_within_a_set_with_one_family(run: Path) -> None:
    score = planted.noisy(EFFECTS)
    p_values = {}
    signs = {}
    for data_set, method, bits in itertools.product(LAYOUTS, planted.METHODS[1:], (12, 24)):
        differences = np.array([
            score(data_set, method, bits, seed) - score(data_set, "ADSH", bits, seed)  # type: ignore[operator]
            for seed in range(5)
        ])  # fmt: skip
        p_values[data_set, method, bits] = stats.ttest_1samp(differences, 0).pvalue
        signs[data_set, method, bits] = differences.mean() > 0
    expected = {}
    for step, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        if p_values[key] * (len(p_values) - step) > 0.05:
            break
        expected[key] = "better" if signs[key] else "worse"
    rows = _rows(run)
    for key in p_values:
        data_set, method, bits = key
        assert rows[method][f"{data_set} {bits} verdict"] == expected.get(key, "undecided"), key
    assert ("CUB", "ITQ", 12) in expected
    assert ("Aircraft", "LSH", 24) in expected


def test_the_best_is_marked_where_it_beats_every_other_method(run: Path) -> None:
    rows = _rows(run)
    marked = {(name, title) for name, row in rows.items() for title, word in row.items() if word == "yes"}
    assert marked == {("ITQ", "CUB 12 best"), ("ITQ", "CUB 24 best"), ("SH", "Mine 12 best"), ("SH", "Mine 24 best")}
    bold = re.findall(r"\*\*[\d.]+ ± [\d.]+\*\*", (run / "tables" / "main.md").read_text())
    assert len(bold) == 4


def test_each_set_has_its_published_numbers_and_cited_methods(run: Path) -> None:
    rows = _rows(run)
    folder = Path(report.__file__).parents[1] / "search_spaces" / "published" / "fcaenet"
    for data_set in ("CUB", "Aircraft"):
        lines = (folder / f"table_1_{data_set.lower()}.csv").read_text().splitlines()
        known = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        for line in known:
            bits = line["hash.bits"]
            name = line["method"] if line["method"] in rows else f"{line['method']} (cited)"
            if int(bits) in (12, 24):
                assert float(rows[name][f"{data_set} {bits} published"]) == float(line["map"])
    assert not [row for row in rows.values() if row["Mine 12 published"]]
    assert "No published numbers: Mine." in (run / "report.html").read_text()


def test_a_set_has_the_page_of_a_study_on_it_alone(run: Path) -> None:
    page = (run / "report-CUB.html").read_text()
    assert "6 of the study&#39;s 18 comparisons" in page or "6 of the study's 18 comparisons" in page
    assert "CUB, ITQ" not in page
    assert 'href="report-CUB.html"' in (run / "report.html").read_text()


def test_holes_have_their_reasons_and_the_other_verdicts_stand(tmp_path: Path) -> None:
    whole = planted.noisy(EFFECTS)

    def _score(data_set: str, method: str, bits: int, seed: int) -> float | str | None:
        return "out of memory" if (data_set, method) == ("CUB", "SH") else whole(data_set, method, bits, seed)

    planted.write(tmp_path / "run", planted.ablation(), LAYOUTS, _score, Mine="no manifest in '/nowhere'")
    rows = _rows(tmp_path / "run")
    assert {row["Mine 12 hole"] for name, row in rows.items() if "cited" not in name} == {"not opened"}
    assert rows["SH"]["CUB 24 hole"] == "failed"
    assert rows["ITQ"]["CUB 24 verdict"] == "better"
    text = _tables(tmp_path / "run")["main.md"]
    assert "Mine could not be opened: no manifest in '/nowhere'" in text
    assert "failed: out of memory" in text


def test_before_the_plan_is_complete_nothing_is_marked(tmp_path: Path) -> None:
    whole = planted.noisy(EFFECTS)

    def _score(data_set: str, method: str, bits: int, seed: int) -> float | str | None:
        return None if (data_set, seed) == ("Mine", 4) else whole(data_set, method, bits, seed)

    planted.write(tmp_path / "run", planted.ablation(), LAYOUTS, _score)
    rows = _rows(tmp_path / "run")
    assert rows["ITQ"]["CUB 24 verdict"] == "better so far"
    assert not any(row[title] for row in rows.values() for title in row if title.endswith("best"))
    study = results.read_study(tmp_path / "run")
    assert report.answer(study, results.load(tmp_path / "run")).startswith("No verdict before the plan is complete.")


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    layouts = {"<b>x</b> & $y_1$": "cub", "a|b": "aircraft"}
    planted.write(tmp_path / "run", planted.ablation(), layouts, planted.noisy({}))
    report.write(tmp_path / "run")
    assert "<b>x</b>" not in (tmp_path / "run" / "report.html").read_text()
    assert r"\$y\_1\$" in (tmp_path / "run" / "tables" / "main.tex").read_text()
    assert r"a\|b" in (tmp_path / "run" / "tables" / "main.md").read_text()
    assert len(list((tmp_path / "run").glob("report-*.html"))) == 2


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_pdflatex_sets_the_table(run: Path, tmp_path: Path) -> None:
    table = (run / "tables" / "main.tex").read_text()
    page = "\\documentclass{article}\\usepackage{booktabs,siunitx,amssymb,graphicx}\\begin{document}\\small\n"
    (tmp_path / "page.tex").write_text(f"{page}{table}\\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 1000
