"""Looks, a margin and earlier plans in `study.json`: optional, checked once, and kept as they were written."""

import json

import pytest

from raysearch.core import UserError
from raysearch.runs.study_record import parse_record

_STUDY = {"study": "s", "variants": [], "cells": []}


def test_a_record_of_an_earlier_version_has_no_looks():
    record = parse_record(json.dumps(_STUDY), "study.json")
    assert (record.looks, record.margin, record.looked) == ([], None, [])
    assert record.to_dict() == _STUDY


def test_looks_and_earlier_plans_stay_as_written():
    written = _STUDY | {"looks": [3, 5, 8], "margin": 0.005, "looked": [2, 3]}
    assert parse_record(json.dumps(written), "study.json").to_dict() == written


@pytest.mark.parametrize(
    "damage",
    [
        {"looks": [5, 3]},
        {"looks": [3, 3]},
        {"looked": [0, 3]},
        {"looks": ["3"]},
        {"looks": 3},
        {"margin": 0},
        {"margin": -0.1},
    ],
    ids=str,
)
def test_a_damaged_plan_of_looks_is_one_line(damage: dict):
    (key,) = damage
    with pytest.raises(UserError, match=rf"^'study\.json' is damaged: {key}[^\n]{{1,200}}$"):
        parse_record(json.dumps(_STUDY | damage), "study.json")
