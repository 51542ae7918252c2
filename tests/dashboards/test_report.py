"""The page holds what was measured, needs no network, runs nothing but its own scripts, and is drawn fast."""

import html
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dashboards.ablation import curves, effects, figures, learning_curves
from dashboards.ablation.page import page
from dashboards.ablation.view import View, view
from dashboards.html import verdicts
from dashboards.report import write
from raysearch.core import UserError
from raysearch.runs import StudyRecord, results

from ..study_json import read_study_json, write_study_json

Drawn = Callable[[Path], Any]  # run directory -> its page, taken apart
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<b>"


def read(run: Path) -> View:
    return view(results.read_study(run), results.load(run))


@pytest.fixture
def drawn(parsed: Callable[[str], Any]) -> Drawn:
    """A run's page, taken apart."""
    return lambda run: parsed(page(read(run)))


def test_the_page_says_what_stands_behind_the_answer(make_run: Callable[..., Path], drawn: Drawn):
    failing = lambda variant, seed: "loss is nan in iteration 3" if (variant, seed) == ("srem.size=37", 1) else None  # noqa: E731
    run = make_run(
        question="How many regions?", failing=failing, effect=lambda levels: -0.04 * (levels["srem.size"] == 128)
    )
    seen = drawn(run)
    head = seen.text.partition("Variants")[0]
    for words in (
        "How many regions?",
        "laptop",
        "drawn images",
        "map@all/expected-ties/test",
        "small, DRAWN_BIRDS_V1, 64 px",
        "5: 0-4, the same for every variant",
        "39 of 40 cells finished",
    ):
        assert words in head
    row = seen.row("srem.size=37 px (128 at 224)")
    assert row[4] == "\N{BLACK DOWN-POINTING TRIANGLE} worse"
    assert row[5] == "4 of 51 failed"
    headers = ["Epochs", "Erased", "Published", "Measured \N{MINUS SIGN} published", "Same protocol"]
    assert seen.row("Variant")[7:] == headers
    assert row[7:10] == ["24", "100.0 %", "0.746table 4"]
    assert row[11] == "no: data, backbone, side"
    assert "loss is nan in iteration 3" in seen.text
    assert "seed 1" in seen.row("1 cell failed")[1]
    assert "python -m raysearch.sweep srem_ablation" in seen.text
    assert "d" * 64 in seen.text
    assert set(seen.data) >= {"plot-effects", "plot-factor-0", "plot-factor-1", "plot-learning-0", "plot-cost"}


def test_the_page_fetches_nothing(make_run: Callable[..., Path], drawn: Drawn):
    seen = drawn(make_run())
    for tag, attributes in seen.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "srcset", "action", "data"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(a["content"] for tag, a in seen.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    style = (Path(figures.__file__).parents[1] / "html" / "style.css").read_text()
    assert not re.search(r"url\(|@import", style)


@pytest.mark.parametrize("design", ["one_at_a_time", "full", "leave_one_out"])
def test_nothing_that_a_run_says_becomes_markup(make_run: Callable[..., Path], design: str, drawn: Drawn):
    path = make_run(design=design, question=EVIL, failing=lambda variant, seed: EVIL if seed == 1 else None)
    harmless = drawn(make_run("harmless", design=design, failing=lambda variant, seed: "no" if seed == 1 else None))
    study = read_study_json(path)
    study["variants"][1]["name"] += EVIL
    for cell in study["cells"]:
        cell["variant"] = study["variants"][
            [v["name"].removesuffix(EVIL) for v in study["variants"]].index(cell["variant"])
        ]["name"]
    study |= {key: EVIL for key in ("study", "profile_reason", "command", "metric_id", "started")}
    study["versions"] = {EVIL: EVIL}
    study["data"] |= {"name": EVIL, "content_hash": EVIL}
    write_study_json(path, study)
    seen = drawn(path)
    assert seen.scripts == harmless.scripts
    assert [tag for tag, _ in seen.tags if tag not in ("wbr",)] == [
        tag for tag, _ in harmless.tags if tag not in ("wbr",)
    ]
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert EVIL in seen.text
    for figure in seen.data.values():
        assert "<img" not in json.dumps(figure)  # plotly reads HTML in its texts


def test_the_plot_of_effects_shows_the_numbers_and_shapes(make_run: Callable[..., Path]):
    run = read(
        make_run(
            effect=lambda levels: 0.03 * (levels["srem.size"] == 64),
            failing=lambda v, s: "x" if v == "srem.regions=0" else None,
        )
    )
    figure = effects.effects(run)
    assert figure is not None
    shown = run.variants[1:]
    drawn = [trace for trace in figure.data if trace.name != effects.SEEDS]
    marks = {at: (trace.marker.symbol, x) for trace in drawn for at, x in zip(trace.y, trace.x, strict=True)}
    for at, one in enumerate(shown):
        symbol, x = marks[at]
        assert symbol == figures.STYLES[one.verdict][0 + 1]
        assert x == (one.compared["delta"] or 0.0)
    assert marks[0][0] == "x-thin-open"
    assert sum(symbol == "triangle-up" for symbol, _ in marks.values()) == 1


def test_curves_join_the_points_of_a_seed_and_leave_holes_open(make_run: Callable[..., Path]):
    run = read(make_run(absent=lambda variant, seed: variant == "srem.regions=10" and seed == 2, published=None))
    figure = curves.curve(run, "srem.regions")
    seeds = figure.data[:-1]
    assert len(seeds) == 5
    assert [trace.y[1] is None for trace in seeds] == [False, False, True, False, False]
    values = {one.name: one.values for one in run.variants}
    assert seeds[0].y == (values["srem.regions=0"][0], values["srem.regions=10"][0], values["reference"][0],
                          values["srem.regions=100"][0], values["srem.regions=150"][0])  # fmt: skip
    assert curves.numeric_factors(run) == ["srem.regions", "srem.size"]


def test_two_crossed_factors_have_a_map_of_means(make_run: Callable[..., Path]):
    run = read(
        make_run(
            design="full",
            effect=lambda levels: 0.1 if (levels["srem.regions"], levels["srem.size"]) == (100, 16) else 0,
        )
    )
    figure = figures.heat_map(run)
    assert figure is not None
    (heat,) = figure.data
    assert (heat.y, heat.x) == (("10", "50", "100"), ("16", "32", "64"))
    assert max(value for row in heat.z for value in row) == heat.z[2][0]


@pytest.mark.parametrize(
    "options",
    [
        {"seeds": 1},
        {"absent": lambda variant, seed: True},
        {"absent": lambda variant, seed: variant == "reference"},
        {"failing": lambda variant, seed: "boom"},
        {"design": "leave_one_out", "failing": lambda variant, seed: "boom" if "SREM" in variant else None},
    ],
    ids=["one seed", "nothing ended", "no reference", "all failed", "a part failed"],
)  # fmt: skip
def test_a_poor_run_still_has_its_report(make_run: Callable[..., Path], options: dict[str, Any], drawn: Drawn):
    run = make_run(**options)
    assert write(run) == run / "report.html"
    names = sorted(
        str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and path.parent.name != "cells"
    )
    tables = [f"tables/variants.{kind}" for kind in ("csv", "json", "md", "tex")]
    assert names == ["report.html", "study.json", *tables]
    assert drawn(run).row("reference")


def test_a_study_of_an_older_run_that_says_next_to_nothing(make_run: Callable[..., Path], drawn: Drawn):
    run = make_run()
    study = read_study_json(run)
    study["variants"] = [{key: one[key] for key in ("name", "settings")} for one in study["variants"]]
    write_study_json(run, {key: study[key] for key in ("study", "factors", "variants", "cells")})
    write(run)
    seen = drawn(run)
    assert seen.row("srem.size=18")[5] == "5"
    assert "map@all/expected-ties/test" in seen.text  # the cells know


def test_mixed_metrics_are_refused_and_the_old_report_stays(make_run: Callable[..., Path]):
    run = make_run()
    before = write(run).read_text()
    cell = read_study_json(run)["cells"][3]["cell"]
    record = results.read_cells(run / "cells", [cell])[cell]
    results.write_cell(run / "cells", record | {"metric_ids": json.dumps({"map": "map@1000/index-ties/test"})})
    with pytest.raises(UserError, match="several definitions"):
        write(run)
    assert (run / "report.html").read_text() == before


def test_two_hundred_variants_are_drawn_at_once():
    names = ["reference", *(f"train.lr={index}" for index in range(1, 200))]
    history = json.dumps(
        [{"iteration": i, "phase": "train", "loss": 1 / (i + 1), "map_validation": 0.1 * i} for i in range(40)]
    )
    rows = [
        {"study": "s", "variant": name, "seed": seed, "cell": f"{name}{seed}", "status": "finished", "error": None,
         "config": name, "map": 0.5 + 0.001 * ((index * 7 + seed * 13) % 11), "seconds": 1.0 + seed, "history": history}
        for index, name in enumerate(names) for seed in range(5)
    ]  # fmt: skip
    study = {
        "study": "s", "factors": ["train.lr"], "design": "one_at_a_time", "seeds": list(range(5)),
        "variants": [{"name": name, "settings": {"train.lr": index}} for index, name in enumerate(names)],
        "cells": [{key: row[key] for key in ("cell", "variant", "seed")} for row in rows],
    }  # fmt: skip
    table = pa.Table.from_pylist(rows)
    started = time.process_time()
    run = view(StudyRecord.model_validate(study), table)
    text = page(run)
    assert time.process_time() - started < 3
    assert len(learning_curves.shown(run)) == learning_curves.MAX_FIGURES
    table_text = text[text.index('<section id="variants"') :]
    assert table_text[: table_text.index("</section>")].count("<tr>") == verdicts.ROWS_IN_PAGE + 1


@pytest.mark.parametrize("kind", ["ablation", "search"])
def test_the_page_has_what_was_read_and_what_makes_the_data_doubtful(
    make_run: Callable[..., Path], make_search: Callable[..., Path], kind: str
):
    make = make_run if kind == "ablation" else make_search
    data = {"name": "own", "account": "7 images read; left out: 2 files (the ending is .txt: a.txt, b.txt)"}
    warnings = [
        "1 image is in several parts (first: a.jpg in train, b.jpg in test)",
        "Weights may have seen test classes.",
    ]
    page = html.unescape(write(make(data=data, warnings=warnings)).read_text())
    assert "7 images read; left out: 2 files" in page.partition("Provenance")[2]
    assert "1 image is in several parts" in page.partition("Provenance")[2]
    top = page.partition('class="caution"')[2].partition("</p>")[0]
    assert "b.jpg in test). Weights may have seen test classes." in top
