"""A published number says whether it was measured by the same protocol; the shipped files say enough to tell."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pytest

from dashboards.ablation import protocol
from dashboards.ablation.page import page
from dashboards.ablation.view import view
from dashboards.run_data import published
from raysearch.data.layouts import LAYOUTS
from raysearch.models.backbones import BACKBONES
from raysearch.runs import StudyRecord, results

from ...study_json import read_study_json

FILES = sorted(
    f"{folder.name}/{file.name.removesuffix('.csv')}"
    for folder in resources.files("search_spaces").joinpath("published").iterdir()
    if folder.is_dir()
    for file in folder.iterdir()
    if file.name.endswith(".csv")
)


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_file_states_its_protocol_in_the_words_of_a_run(name: str) -> None:
    numbers = published.read_published(name)
    assert numbers is not None
    paper = protocol.state_for(numbers.source, {"model": {"backbone": "conv4"}, "episodes": {"shots": 1}})
    assert set(protocol.ASPECTS) <= set(paper)
    assert paper["data"] in LAYOUTS
    assert paper["backbone"] in BACKBONES
    assert 32 <= int(paper["side"]) <= 448
    assert paper["weights"] in ("pretrained", "random")
    assert protocol.matches(paper, {aspect: paper[aspect] for aspect in protocol.ASPECTS}) == "yes"


def test_a_run_by_the_papers_protocol_matches_and_others_say_what_differs(make_run: Callable[..., Path]) -> None:
    path = make_run()
    study = read_study_json(path)
    assert protocol.of(*_first(study, path)) == "no: data, backbone, side"
    study["data"]["layout"] = "food101"
    for one in study["variants"]:
        one["config"]["data"]["side"] = 224
        one["config"]["model"] |= {"backbone": "resnet50", "weights": "IMAGENET1K_V1"}
    run, reference = _first(study, path)
    assert protocol.of(run, reference) == "yes"
    assert "Where protocols differ" not in page(run)
    assert protocol.of(run, run.named["srem.regions=0"]) == "", "the paper has no such number"
    study["variants"][0]["config"]["model"]["weights"] = None
    assert protocol.of(*_first(study, path)) == "no: weights"
    assert protocol.of(*_first(study, path, "map@100/expected-ties/test")) == "no: weights, metric"


def _first(study, path, metric_id=None):
    """Return the view of a run and its reference; its cells have measured mAP by another definition if one is given."""
    table = results.load(path)
    if metric_id is not None:
        place = table.schema.names.index("metric_ids")
        table = table.set_column(place, "metric_ids", pa.array([json.dumps({"map": metric_id})] * len(table)))
    run = view(StudyRecord.model_validate(study), table)
    return run, run.reference
