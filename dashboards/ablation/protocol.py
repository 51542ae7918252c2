"""Comparison of a run's protocol with the protocol of a published number.

The first lines of a file in `search_spaces/published` describe the paper's protocol: `data` (the layout's name),
`backbone`, `side`, `weights` ("pretrained") and `measure` (the metric's id without tie-breaking, which papers do not
state). `{model.backbone}` in them stands for the variant's setting, by which its number is looked up. Schedules are not
compared, because papers describe them incompletely.
"""

import re
from collections.abc import Mapping
from typing import Any

from dashboards.ablation.variant import Variant
from dashboards.ablation.view import View
from dashboards.run_data import loads, mapping
from raysearch.runs import StudyRecord, config_section
from raysearch.studies.configs import flatten

ASPECTS = ("data", "backbone", "side", "weights", "measure")  # keys of a published file's first lines
_PATH = re.compile(r"\{([\w.]+)\}")
_WORDS = {"measure": "metric"}


def matches(paper: Mapping[str, str], ran: Mapping[str, str]) -> str:
    """Return "yes" for the paper's protocol, "no: ..." with the differences, or "unknown: ..." with missing aspects.

    Args:
        paper: aspect -> value, from a published file's first lines.
        ran: aspect -> value, as `ran` returns them.

    >>> paper = {"data": "food101", "backbone": "resnet50", "side": "224"}
    >>> paper |= {"weights": "pretrained", "measure": "map@all"}
    >>> matches(paper, paper), matches(paper, paper | {"data": "cub", "side": "84"})
    ('yes', 'no: data, side')
    >>> matches({"data": "food101"}, paper)
    'unknown: backbone, side, weights and metric are not stated'
    """
    differ = [_WORDS.get(key, key) for key in ASPECTS if key in paper and paper[key] != ran.get(key)]
    if differ:
        return f"no: {', '.join(differ)}"
    unstated = [_WORDS.get(key, key) for key in ASPECTS if key not in paper]
    if unstated:
        listed = f"{', '.join(unstated[:-1])} and {unstated[-1]} are" if unstated[1:] else f"{unstated[0]} is"
        return f"unknown: {listed} not stated"
    return "yes"


def ran(study: StudyRecord, config: Mapping[str, Any], metric_id: str) -> dict[str, str]:
    """Return the protocol of a run: aspect -> value.

    Args:
        study: the record of the run.
        config: the variant's config.
        metric_id: the metric's id, such as `map@all/expected-ties/test`. Another part than test is another measure.

    >>> from raysearch.runs.study_record import DataRecord
    >>> study = StudyRecord(study="s", data=DataRecord(layout="cub"), variants=[], cells=[])
    >>> ran(study, {"data": {"side": 84}, "model": {}}, "map@all/expected-ties/test")
    {'data': 'cub', 'backbone': 'None', 'side': '84', 'weights': 'random', 'measure': 'map@all'}
    """
    model = config_section(config, "model")
    measure, *details = metric_id.split("/")
    return {
        "data": str(study.data.layout),
        "backbone": str(model.get("backbone")),
        "side": str(config_section(config, "data").get("side")),
        "weights": "pretrained" if model.get("weights") else "random",
        "measure": measure if "validation" not in details else f"{measure} of the validation part",
    }


def of(run: View, variant: Variant) -> str:
    """Return whether a variant ran by the protocol of its published number; empty if it has no such number."""
    if run.published is None or variant.published is None:
        return ""
    paper = state_for(run.published.source, variant.config)
    return matches(paper, ran(run.study, variant.config, _metric_id(run, variant)))


def _metric_id(run: View, variant: Variant) -> str:
    """Return the id of a variant's own numbers, since variants may differ in it, such as by their shots."""
    texts = dict.fromkeys(row.get("metric_ids") for row in variant.rows)
    ids = {mapping(loads(text)).get(run.metric) for text in texts}
    return str(next(iter(ids))) if len(ids) == 1 and None not in ids else run.metric_id


def state_for(source: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, str]:
    """Return a published file's first lines with a variant's settings in the place of their paths.

    >>> state_for({"measure": "accuracy@5-way-{episodes.shots}-shot"}, {"episodes": {"shots": 1}})
    {'measure': 'accuracy@5-way-1-shot'}
    """
    settings = flatten(config)
    return {key: _PATH.sub(lambda path: str(settings.get(path[1])), text) for key, text in source.items()}
