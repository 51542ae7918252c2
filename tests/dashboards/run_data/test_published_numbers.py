"""Every shipped number of a paper, against a second copy of the papers' tables, and against the data set of a run.

`tests/fixtures/published_numbers.csv` was read from the papers apart from the shipped files: FCAENet (arXiv 2110.04479,
tables 1 to 5) and HelixFormer (arXiv 2207.00784, tables 1 to 3, and table 4 of its README), in percent.
"""

import csv
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dashboards.ablation import protocol
from dashboards.ablation.page import page
from dashboards.ablation.variant import published_levels
from dashboards.ablation.view import view
from dashboards.run_data import published
from raysearch.data.layouts import LAYOUTS
from raysearch.runs import StudyRecord, results
from raysearch.studies.design import Ablation, ablation_plan
from raysearch.studies.design.study_files import load_study, study_names

from ...study_json import read_study_json

SHIPPED = Path(published.__file__).parents[2] / "search_spaces" / "published"
PAPERS = Path(__file__).parents[2] / "fixtures" / "published_numbers.csv"
LAYOUT = {
    "CUB2011": "cub", "Aircraft": "aircraft", "NABirds": "nabirds", "VegFru": "vegfru", "Food101": "food101",
    "Dogs": "dogs", "Cars": "cars", "CUB": "cub", "CUB->NABirds": "cub_to_nabirds",
}  # fmt: skip
BACKBONE = {"Conv-4": "conv4", "ResNet-12": "resnet12", "ResNet-34": "resnet34"}
VARIANT = {  # the papers' names of what the studies call otherwise
    "ExchNet": "ExchNet-like", "Baseline(ours)": "Baseline", "HelixFormer baseline (RN)": "Relation head",
}  # fmt: skip
BOTH_TABLES = ("Baseline", "FCAENet")  # of FCAENet's tables 1 and 2
STUDIES = {  # study -> data sets that its paper has numbers of
    "fcaenet_table1": {"cub", "aircraft", "nabirds", "vegfru", "food101"},
    "hashing_baselines": {"cub", "aircraft", "nabirds", "vegfru", "food101"},
    "fcaenet_components": {"cub", "aircraft", "nabirds", "vegfru", "food101"},
    "srem_ablation": {"food101"},
    "exchnet_baseline": {"cub", "food101"},
    "fewshot_methods": {"dogs", "cars", "nabirds", "cub", "aircraft"},
    "helixformer_tables": {"dogs", "cars", "nabirds", "cub", "aircraft"},
    "helixformer_tables_5shot": {"dogs", "cars", "nabirds", "cub", "aircraft"},
    "helixformer_cross_domain": {"cub_to_nabirds"},
}


def paper_numbers() -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Yield paper and data set, the number of the table, the levels in a study's words, and the number in percent."""
    with PAPERS.open(newline="") as file:
        for row in csv.DictReader(file):
            name = VARIANT.get(row["method"], row["method"])
            if row["paper"] == "HelixFormer":
                shots = {"5way-1shot": 1, "5way-5shot": 5}[row["setting"]]
                levels = {"method": name, "model.backbone": BACKBONE[row["backbone"]], "episodes.shots": shots}
            elif row["table"] == "2":
                levels = {"components": name, "hash.bits": int(row["setting"].removesuffix("bits"))}
            elif row["table"] == "3":
                levels = {"srem.regions": int(name.removeprefix("N=")), "srem.size": 32}
            elif row["table"] == "4":
                levels = {"srem.regions": 50, "srem.size": int(name.removeprefix("size="))}
            else:
                levels = {"method": name, "hash.bits": int(row["setting"].removesuffix("bits"))}
            yield f"{row['paper'].lower()} {LAYOUT[row['dataset']]}", row["table"], levels, row["value"]


def key(table: object, levels: dict[str, Any]) -> tuple[str, str]:
    return str(table), repr(sorted(levels.items()))


def shipped_numbers() -> Iterator[tuple[str, tuple[str, str], float]]:
    for path in sorted(SHIPPED.rglob("*.csv")):
        numbers = published.parse(path.read_text(encoding="utf-8"))
        for row in numbers.rows:
            levels = {name: value for name, value in row.items() if name not in ("map", "accuracy", "table", "ci95")}
            metric = "map" if "map" in row else "accuracy"
            yield f"{path.parent.name} {numbers.source['data']}", key(row["table"], levels), row[metric]


def test_every_shipped_number_is_the_papers_and_none_is_missing() -> None:
    papers: dict[str, dict[tuple[str, str], str]] = {}
    for where, table, levels, value in paper_numbers():
        papers.setdefault(where, {})[key(table, levels)] = value
    # Tables 3 and 4 share a row. The studies of table 2 show table 1 on data sets that table 2 does not have.
    assert papers["fcaenet food101"].pop(key("4", {"srem.regions": 50, "srem.size": 32})) == "76.56"
    for layout, bits, name in product(("cub", "aircraft", "nabirds", "vegfru"), (12, 24, 32, 48), BOTH_TABLES):
        rows = papers[f"fcaenet {layout}"]
        rows[key("1", {"components": name, "hash.bits": bits})] = rows[key("1", {"method": name, "hash.bits": bits})]
    shipped: dict[str, dict[tuple[str, str], float]] = {}
    for where, at, value in shipped_numbers():
        assert shipped.setdefault(where, {}).setdefault(at, value) == value
    assert {where: set(rows) for where, rows in shipped.items()} == {where: set(rows) for where, rows in papers.items()}
    for where, rows in shipped.items():
        for at, value in rows.items():
            assert f"{100 * value:.2f}" == papers[where][at], (where, at)
    assert sum(map(len, papers.values())) == 387 + 32


def test_every_interval_of_helixformer_is_the_papers() -> None:
    with PAPERS.open(newline="") as file:
        papers = sorted((float(row["value"]), row["ci95"]) for row in csv.DictReader(file) if row["ci95"])
    shipped = []
    for path in sorted((SHIPPED / "helixformer").glob("*.csv")):
        rows = published.parse(path.read_text(encoding="utf-8")).rows
        shipped += [(round(100 * row["accuracy"], 2), f"{100 * row['ci95']:.2f}") for row in rows if row["ci95"]]
    assert sorted(shipped) == papers
    assert len(papers) == 97


def test_every_study_with_published_numbers_is_in_the_list() -> None:
    studies = {name: load_study(name)[1] for name in study_names()}
    with_numbers = {name for name, study in studies.items() if isinstance(study, Ablation) and study.published}
    assert with_numbers == set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_shows_the_numbers_of_its_own_data_set_and_of_no_other(name: str) -> None:
    study = load_study(name)[1]
    assert isinstance(study, Ablation)
    assert study.published is not None
    assert set(published.data_sets(study.published)) == STUDIES[name]
    plan = ablation_plan.plan_ablation(name, study, "paper", "")
    found: dict[str, int] = {}
    for layout in (*LAYOUTS, "folder", None):
        numbers = published.read_published(study.published, layout)
        if numbers is None:
            continue
        assert numbers.source["data"] == layout
        levels = [published_levels(of.settings, of.declared, of.config.model_dump()) for of in plan.variants]
        found[str(layout)] = sum(numbers.find(variant, study.metric) is not None for variant in levels)
    assert set(found) == STUDIES[name]
    assert all(found.values()), "no variant has a number"


def test_a_number_belongs_to_the_backbone_of_the_run() -> None:
    """HelixFormer's table 2 with 1 shot, read by hand: 79.34 with Conv-4, 81.66 with ResNet-12."""
    study = load_study("fewshot_methods")[1]
    assert isinstance(study, Ablation)
    shown = {}
    for backbone in ("conv4", "resnet12", "resnet18"):
        plan = ablation_plan.plan_ablation("s", study, "paper", "", {"model.backbone": backbone})
        variant = next(of for of in plan.variants if of.name == "HelixFormer")
        numbers = published.read_published(study.published, "cub")
        assert numbers is not None
        levels = published_levels(variant.settings, variant.declared, variant.config.model_dump())
        shown[backbone] = numbers.find(levels, "accuracy")
        paper = protocol.state_for(numbers.source, variant.config.model_dump())
        assert (paper["backbone"], paper["measure"]) == (backbone, "accuracy@5-way-1-shot-15-query")
    assert shown == {"conv4": (0.7934, "2"), "resnet12": (0.8166, "2"), "resnet18": None}


def test_the_report_of_an_earlier_run_has_the_numbers_of_its_own_data_set(make_run: Callable[..., Path]) -> None:
    path = make_run()
    study = read_study_json(path)
    study["published"] = "fcaenet/tables_3_4"  # as earlier versions recorded it
    pages = {}
    for layout in ("food101", "cub"):
        study["data"]["layout"] = layout
        run = view(StudyRecord.model_validate(study), results.load(path))
        pages[layout] = page(run)
        assert (run.published is not None) == (layout == "food101")
    assert "0.7656" in pages["food101"]
    assert "0.7656" not in pages["cub"]
    assert "no numbers for this data set (cub), only for food101" in pages["cub"]
