"""A model that cannot be exported is reported before any training."""

import pytest

from raysearch.core import UserError
from raysearch.inference import export


@pytest.mark.parametrize("task", ["retrieval", "fewshot"])
def test_models_of_these_tasks_are_exported(task: str) -> None:
    export.check(task)


def test_other_models_are_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"--set model\.method=centroid"):
        export.check("pretrain")
    with pytest.raises(UserError, match=r"models of task 'color' cannot be exported; --out FILE writes"):
        export.check("color")
