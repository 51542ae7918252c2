"""The page of a study on several data sets: its answer, its rank diagrams in a browser, and that of a whole paper."""

import random
import re
import time
from pathlib import Path

import pytest

from dashboards import report
from raysearch.runs import results

from ...browser import chromium, needs_chromium
from .. import several_sets_runs as planted

FIVE = {"CUB": "cub", "Aircraft": "aircraft", "Food101": "food101", "NABirds": "nabirds", "VegFru": "vegfru"}
NAMES = ("ADSH", "a method whose name does not fit", "HashNet", "ITQ")  # in the places of planted.METHODS
_LABELS = """
[...document.querySelectorAll('#ranks .plot')].map((plot) => {
  const room = plot.getBoundingClientRect();
  return [...plot.querySelectorAll('.annotation-text, .xtick text')].map((label) => {
    const box = label.getBoundingClientRect();
    return [label.textContent, box.left - room.left, room.right - box.right, box.left, box.right, box.top, box.bottom];
  });
})
"""


@pytest.fixture(scope="module")
def five_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on five sets, on which the second method is better everywhere, the last only at 24 bits of CUB."""
    run_dir = tmp_path_factory.mktemp("five") / "run"
    noise = planted.noisy({(name, NAMES[1]): 0.065 for name in FIVE})

    def _score(data_set: str, method: str, bits: int, seed: int) -> float:
        extra = 0.03 if (data_set, method, bits) == ("CUB", "ITQ", 24) else 0.0
        return float(noise(data_set, method, bits, seed) or 0.0) + extra

    planted.write(run_dir, planted.ablation(NAMES), FIVE, _score)
    report.write(run_dir)
    return run_dir


def test_the_answer_names_methods_with_their_columns(five_sets: Path) -> None:
    answer = report.answer(results.read_study(five_sets), results.load(five_sets))
    cub, others = answer.split("Aircraft: ")
    assert cub.startswith(f"CUB: better than the reference: {NAMES[1]} in every column (up to +0.06")
    assert "and ITQ at 24 (+0.03" in cub
    assert "ITQ at 12" in cub.partition("undecided")[2]
    assert others.count(f"{NAMES[1]} in every column") == 4
    assert "hash.bits" not in answer


def test_the_page_names_the_paper_once_and_the_time_of_each_set(five_sets: Path) -> None:
    page = (five_sets / "report.html").read_text()
    caption = re.findall(r"In brackets: published \((.*?)\)", page)
    assert {*caption} == {
        "FCAENet, arXiv 2110.04479, table 1, CUB-200-2011, FGVC-Aircraft, Food-101, NABirds and VegFru"
    }
    cost = page.partition('<section id="cost"')[2].partition("</section>")[0]
    assert re.findall(r'scope="row">(\w+)</th><td class="number" data-value="([\d.]+)">', cost) == [
        (name, "40.0")
        for name in FIVE  # four methods, two lengths and five seeds of a second
    ]


def test_the_page_of_a_set_names_the_reference_without_its_code_length(five_sets: Path) -> None:
    page = (five_sets / "report-VegFru.html").read_text()
    assert f"{NAMES[1]} &amp; hash.bits=<wbr>24 beats the reference of its hash.bits (method=<wbr>ADSH)" in page or (
        f"{NAMES[1]} beats the reference of its hash.bits (method=<wbr>ADSH)" in page
    )


@needs_chromium
@pytest.mark.parametrize("width", [390, 1200])
def test_labels_of_the_rank_diagrams_are_whole_and_apart(five_sets: Path, width: int) -> None:
    with chromium() as browser:
        page = browser.open((five_sets / "report.html").as_uri(), width=width)
        diagrams = page.evaluate(_LABELS)
        assert list(page.errors) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert len(diagrams) == 2
    for labels in diagrams:
        texts = [text for text, *_ in labels]
        assert len(texts) == 8, "four ranks on the axis, and four methods"
        assert sum("whose name" in text for text in texts) == 1
        for text, left, right, *_ in labels:
            assert min(left, right) >= 0, f"{text} is cut"
        for index, (text, _, _, *box) in enumerate(labels):
            for other, _, _, *beside in labels[index + 1 :]:
                is_apart = box[1] <= beside[0] or beside[1] <= box[0] or box[3] <= beside[2] or beside[3] <= box[2]
                assert is_apart, f"{text} covers {other}"


@pytest.mark.slow  # its bounds are for a machine that is not too busy
@needs_chromium
def test_the_page_of_a_whole_paper_is_written_and_opened_in_a_few_seconds_of_a_core(tmp_path: Path) -> None:
    """13 methods at 4 code lengths on 5 sets with 5 seeds: 1,300 cells."""
    methods = tuple(f"Method{number}" for number in range(13))
    rng = random.Random(1)
    score = planted.noisy({(name, method): rng.gauss(0.0, 0.05) for name in FIVE for method in methods})
    record = planted.write(tmp_path / "run", planted.ablation(methods, bits=(12, 24, 32, 48)), FIVE, score)
    assert len(record.cells) == 1300
    started = time.process_time()
    path = report.write(tmp_path / "run")
    assert time.process_time() - started < 8  # 3.5 on a quiet machine, with the pages of the five sets
    with chromium() as browser:
        for file, figures in ((path, 4), (path.with_name("report-CUB.html"), 8)):
            page = browser.open("about:blank")
            page.call("Performance.enable")
            page.go(file.as_uri())
            metrics = {entry["name"]: entry["value"] for entry in page.call("Performance.getMetrics")["metrics"]}
            print(f"{file.name}: {metrics['ProcessTime']:.1f} s of the page's process")
            assert metrics["ProcessTime"] < 5  # 2 on a quiet machine
            assert page.evaluate("document.querySelectorAll('.js-plotly-plot').length") == figures
            assert page.evaluate("document.querySelectorAll('script[data-figure]').length") == figures
            assert page.evaluate("document.querySelectorAll('*').length") < 6000  # 2,800 and 4,300
            assert page.evaluate("document.documentElement.scrollWidth") == 1200
            table = "document.querySelector('#results .scroll, #variants .scroll')"
            assert page.evaluate(f"{table}.scrollWidth <= {table}.clientWidth"), "the table fits a window of 1,200 px"
            assert list(page.errors) == []
