"""The head of each cluster has the same limits on its history as one on a laptop."""

import re
from pathlib import Path

import pytest

from raysearch.engine.ray_internals import HEAD_HISTORY_LIMITS

CLUSTERS = Path(__file__).parents[2] / "clusters"


@pytest.mark.parametrize("file", ["aws.yaml", "on_prem.yaml", "kuberay.yaml"])
def test_a_head_remembers_as_much_everywhere(file: str) -> None:
    text = (CLUSTERS / file).read_text()
    told = dict(re.findall(r'(RAY_\w+(?:_in_gcs|_cached_count))(?:=|, value: ")(\d+)', text))
    assert told == {name: str(many) for name, many in HEAD_HISTORY_LIMITS.items()}
