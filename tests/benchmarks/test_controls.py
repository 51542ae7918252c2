"""The script that counts how often the controls decide: its judgement on made-up cells, and a real repetition."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import controls
import numpy as np
import pytest
from scipy import stats

from raysearch.studies.configs import RunConfig

ROOT = Path(__file__).parents[2]


class MadeUpCells:
    """Cells whose metric is chance, with an effect of erasing."""

    def __init__(self, effect: float) -> None:
        self.effect = effect
        self.values: dict[tuple[str, int], float] = {}

    def train(self, name: str, config: RunConfig, seed: int) -> dict[str, Any]:
        erases = config.value_at("srem.regions") > 0
        value = 0.4 + self.effect * erases + 0.01 * np.random.default_rng([seed, int(name[:8], 16)]).normal()
        self.values[name, seed] = value
        return {"cell": name, "map": value, "curve": [0.1, 0.2], "warm": 1, "metric_steps": "{}", "seconds": 1.0}


def test_the_p_value_is_that_of_scipy_times_the_comparisons_of_the_whole_study() -> None:
    cells = MadeUpCells(effect=0.02)
    result = controls.judge(controls.CONTROLS["positive"], 0, cells, "d" * 64)  # type: ignore[arg-type]
    by_seed: dict[int, list[float]] = {}
    for (_, seed), value in cells.values.items():
        by_seed.setdefault(seed, []).append(value)
    assert list(by_seed) == [2000, 2001, 2002, 2003, 2004]
    reference, plain = np.array(list(by_seed.values())).T
    expected = stats.ttest_rel(plain, reference).pvalue
    assert result["p"] == {"srem.regions=0": pytest.approx(7 * expected, rel=0.01)}
    assert result["difference"] == {"srem.regions=0": pytest.approx((plain - reference).mean())}


@pytest.mark.parametrize(("name", "effect", "decided"), [("positive", 0.1, True), ("negative", 0.1, False)])
def test_an_effect_of_erasing_is_decided_by_the_positive_control_alone(name: str, effect: float, decided: bool) -> None:
    control = controls.CONTROLS[name]
    results = [controls.judge(control, repetition, MadeUpCells(effect), "d" * 64) for repetition in range(3)]  # type: ignore[arg-type]
    assert [result["decided"] for result in results] == [decided] * 3
    lines = "\n".join(controls.describe(name, control, results))
    assert f"{3 if decided else 0} of 3 repetitions" in lines
    assert "validation mAP 0.100 after the warm-up, 0.200 at the end" in lines


def test_a_variant_with_the_numbers_of_the_reference_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = MadeUpCells(effect=0.0)
    made = cells.train
    # "no erasing" gets the cells of the reference
    monkeypatch.setattr(cells, "train", lambda name, config, seed: made("0" * 8, config, seed))
    with pytest.raises(SystemExit, match=r"srem\.regions=0 has the numbers of the reference"):
        controls.judge(controls.CONTROLS["positive"], 0, cells, "d" * 64)  # type: ignore[arg-type]


@pytest.mark.slow
def test_erasing_helps_on_the_embedded_data(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "controls.py"), "--quick", "--cells", str(tmp_path / "cells")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800)
    (repetition,) = json.loads(done.stdout.splitlines()[-1])["positive"]
    assert repetition["difference"]["srem.regions=0"] < -0.04
    for line in (tmp_path / "cells").read_text().splitlines():
        cell = json.loads(line)
        assert cell["curve"][-1] > cell["curve"][0]
