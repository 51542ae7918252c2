"""A paper's numbers stand beside the variants that they belong to and nowhere else."""

from collections.abc import Callable
from pathlib import Path

from dashboards.ablation import curves
from dashboards.ablation.page import page
from dashboards.ablation.view import View, view
from dashboards.run_data import published
from raysearch.runs import StudyRecord, results
from raysearch.studies.design.study_files import load_study

from ...study_json import read_study_json

PAPER = {  # FCAENet, tables 3 and 4, by the name of the variant at 64 px
    "reference": 0.7656,
    "srem.regions=0": None,
    "srem.regions=10": 0.7523,
    "srem.regions=100": 0.7641,
    "srem.regions=150": 0.7484,
    "srem.size=5": 0.7566,
    "srem.size=18": 0.7630,
    "srem.size=37": 0.7460,
}


def read(run: Path) -> View:
    return view(results.read_study(run), results.load(run))


def test_every_variant_meets_its_own_number(make_run: Callable[..., Path]):
    run = read(make_run())
    assert {one.name: one.published and one.published[0] for one in run.variants} == PAPER
    assert {one.published[1] for one in run.variants if one.published} == {"3", "4"}


def test_the_published_curve_stands_at_declared_levels(make_run: Callable[..., Path]):
    figure = curves.curve(read(make_run()), "srem.size")
    paper = next(trace for trace in figure.data if trace.yaxis == "y2")
    # sizes stand at their logarithms: 16, 32, 64, 128
    assert dict(zip(paper.x, paper.y, strict=True)) == {4.0: 0.7566, 5.0: 0.7656, 6.0: 0.7630, 7.0: 0.7460}
    measured = [trace for trace in figure.data if trace.yaxis != "y2"]
    assert all(set(trace.x) == {4.0, 5.0, 6.0, 7.0} for trace in measured)
    assert figure.layout.xaxis.ticktext == ("16<br>5 px", "<b>32</b><br>9 px", "64<br>18 px", "128<br>37 px")
    # the scales are not shared
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis2.domain[1]


def test_a_level_moved_by_hand_meets_no_number(make_run: Callable[..., Path]):
    path = make_run()
    study = read_study_json(path)
    for variant in study["variants"]:
        variant["declared"].pop("srem.size")  # as planning does for a path that --set moved
    run = view(StudyRecord.model_validate(study), results.load(path))
    assert all(one.published is None for one in run.variants)


def test_the_number_of_true_is_not_that_of_one():
    numbers = published.parse("# paper: A\nSREM,map\nTrue,0.9\nFalse,0.5\n")
    assert numbers.find({"SREM": False}, "map") == (0.5, "")
    assert numbers.find({"SREM": 1}, "map") is None
    assert numbers.find({"SREM": True}, "accuracy") is None


def test_a_study_without_published_numbers_or_with_unknown_ones():
    assert published.read_published(None) is None
    assert published.read_published("fcaenet/no_such_table") is None


def test_the_file_follows_the_data_of_the_run(make_run: Callable[..., Path]):
    """`hashing_baselines` on each data set of the paper's table 1; the numbers are the table's, read by hand."""
    study = load_study("hashing_baselines")[1]
    at = {"method": "FCAENet", "hash.bits": 24}
    paper = {"cub": 0.6767, "aircraft": 0.7546, "food101": 0.7656, "nabirds": 0.2390, "vegfru": 0.5036}
    found = {}
    for layout in paper:
        numbers = published.read_published(study.published, layout)
        assert numbers is not None
        assert numbers.source["data"] == layout
        found[layout] = numbers.find(at, "map")
    assert found == {layout: (value, "1") for layout, value in paper.items()}
    assert published.read_published(study.published, "folder") is None
    assert published.read_published(study.published) is None
    assert published.read_published(study.published, "../cub") is None
    assert published.read_published("fcaenet/table_1_cub", "food101") == published.read_published(
        study.published, "cub"
    )
    assert published.data_sets(study.published) == sorted(paper)
    assert published.data_sets("fcaenet/table_5_{data}") == ["cub", "food101"]
    assert published.data_sets("fcaenet/table_5") == ["cub", "food101"]  # as earlier versions name it
    assert published.data_sets(None) == []


def test_a_run_on_other_data_says_that_it_has_no_published_numbers(make_run: Callable[..., Path]):
    path = make_run()
    study = read_study_json(path)
    study["published"] = "fcaenet/table_1_{data}"
    run = view(StudyRecord.model_validate(study), results.load(path))
    assert run.published is None
    text = page(run)
    assert "no numbers for this data set (synthetic), only for aircraft, cub, food101, nabirds, vegfru" in text
    study["data"]["layout"] = "cub"
    run = view(StudyRecord.model_validate(study), results.load(path))
    assert run.published is not None
    assert "no numbers for this data set" not in page(run)


def test_table_5_is_the_papers():
    rows = {}
    for layout in ("cub", "food101"):
        numbers = published.read_published(f"fcaenet/table_5_{layout}")
        assert numbers is not None
        rows[layout] = {(row["method"], row["hash.bits"]): row["map"] for row in numbers.rows}
    assert rows["cub"]["ExchNet_Baseline", 24] == 0.5243
    assert rows["cub"]["ExchNet_Baseline", 48] == 0.6465
    assert rows["food101"]["ExchNet_Baseline", 24] == 0.4946
    assert rows["food101"]["ExchNet_Baseline", 48] == 0.5723
    for layout, by_levels in rows.items():  # the other twelve numbers are in table 1 as well
        table = published.read_published("fcaenet/table_1_{data}", layout)
        assert table is not None
        others = {key: value for key, value in by_levels.items() if key[0] != "ExchNet_Baseline"}
        assert len(others) == 6
        for (method, bits), value in others.items():
            assert table.find({"method": method, "hash.bits": bits}, "map") == (value, "1")


def test_what_a_paper_only_cites_is_named_apart():
    numbers = published.read_published("fcaenet/table_1_cub")
    assert numbers is not None
    run = [{"method": method, "hash.bits": bits} for method in ("LSH", "FCAENet") for bits in (24, 32)]
    found = {(levels["method"], levels["hash.bits"]): value for levels, value in numbers.beyond(run, "map")}
    assert found["FPH", 32] == 0.5832
    assert found["ITQ", 24] == 0.0942
    assert not {("LSH", 24), ("LSH", 12), ("FPH", 48)} & set(found)  # run; lengths that this study does not have
    regions = published.read_published("fcaenet/tables_3_4_food101")
    assert regions is not None
    assert regions.beyond([{"srem.regions": 10, "srem.size": 32}], "map") == []  # other levels are no other methods
