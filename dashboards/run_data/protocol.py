"""Whether a run's protocol is the one that a published number was measured by.

A file of `search_spaces/published` says in its first lines what the paper ran: `data` (the layout's name), `backbone`,
`side`, `weights` ("pretrained") and `measure` (the metric's id without the order of ties, which papers do not state).
A schedule is not compared: papers leave too much of theirs open.
"""

from collections.abc import Mapping
from typing import Any

from dashboards.ablation.view import Variant, View
from raysearch.runs.study_record import StudyRecord

ASPECTS = ("data", "backbone", "side", "weights", "measure")  # keys of a published file's first lines
_WORDS = {"measure": "metric"}


def matches(paper: Mapping[str, str], ran: Mapping[str, str]) -> str:
    """Whether what ran is what the paper ran: "yes", "no: ..." with what differs, or "unknown: ..." with what the
    file does not say.

    Args:
        paper: aspect -> value, from a published file's first lines.
        ran: aspect -> value, as `ran` gives them.

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
    silent = [_WORDS.get(key, key) for key in ASPECTS if key not in paper]
    if silent:
        listed = f"{', '.join(silent[:-1])} and {silent[-1]} are" if silent[1:] else f"{silent[0]} is"
        return f"unknown: {listed} not stated"
    return "yes"


def ran(study: StudyRecord, config: Mapping[str, Any], metric_id: str) -> dict[str, str]:
    """What was run, by the aspects of a protocol.

    Args:
        study: what `study.json` holds.
        config: of the variant.
        metric_id: of the metric, as `map@all/expected-ties/test`; on another part than test it measures something else.

    >>> from raysearch.runs.study_record import DataRecord
    >>> study = StudyRecord(study="s", data=DataRecord(layout="cub"), variants=[], cells=[])
    >>> ran(study, {"data": {"side": 84}, "model": {}}, "map@all/expected-ties/test")
    {'data': 'cub', 'backbone': 'None', 'side': '84', 'weights': 'random', 'measure': 'map@all'}
    """
    model, (measure, *how) = config.get("model") or {}, metric_id.split("/")
    return {
        "data": str(study.data.layout),
        "backbone": str(model.get("backbone")),
        "side": str((config.get("data") or {}).get("side")),
        "weights": "pretrained" if model.get("weights") else "random",
        "measure": measure if "validation" not in how else f"{measure} of the validation part",
    }


def of(run: View, one: Variant) -> str:
    """Whether a variant ran by the protocol of its published number; empty for one that has none."""
    if run.published is None or one.published is None:
        return ""
    return matches(run.published.source, ran(run.study, one.config, run.metric_id))
