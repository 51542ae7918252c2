"""A hashing loss in a file outside the package trains, resumes, is part of the hash, and leaves other cells alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.studies.configs import overrides
from raysearch.studies.design import cell_hash

from ..extension_runs import ROOT, assert_refused, list_settings, run_script

EXTENSION = """
import torch
from raysearch.extend import Section, hashing_loss, setting


class MarginConfig(Section):
    margin: float = setting(2.0, "distance beyond which unlike images are left alone.", gt=0)


@hashing_loss("margin", config=MarginConfig)
def margin_loss(outputs, labels, config):
    distance = torch.cdist(outputs, outputs).square()
    same = labels[:, None] == labels
    return {
        "pull": torch.where(same, distance, 0.0).mean(),
        "push": torch.where(same, 0.0, (config.margin - distance).clamp(min=0)).mean(),
    }
"""
# Runs in a process of its own, since an extension stays registered. RAYSEARCH_EXTENSIONS names the file.
SCRIPT = """
import json, sys
from pathlib import Path
import torch
from raysearch.studies.configs import overrides
from raysearch.studies.design.plan import cell_hash
from tests.tasks.extension_runs import resume_halfway
from tests.tasks.retrieval.small_runs import BASE, image_set
from raysearch.tasks import registry
from raysearch.tasks.base import Feed, Worker

torch.set_num_threads(1)
settings = {**BASE, "hash.method": "margin", "hash.bits": 8, "train.iterations": 4, "train.epochs": 4}
settings |= {"train.samples": 40, "train.batch": 20, "train.lr": 0.02, "train.hash_lr": 5.0, "pairs.per_class": 4}
settings |= {"model.standardise": True, **dict(overrides.parse(["margin.margin=3"], "retrieval"))}
config = overrides.resolve("retrieval", settings)
worker = Worker(Feed(image_set([10] * 4), image_set([5] * 4, seed=1), "data"), Path(sys.argv[1]))
whole = registry.build(config, 0, worker)
reports = [whole.advance() for _ in range(whole.steps)]
resumed = resume_halfway(config, worker)
metrics = whole.evaluate()
adsh = overrides.resolve("retrieval", {})
print(json.dumps({
    "margin": config.margin.margin,
    "reports": reports,
    "map": metrics["map"],
    "resumes": resumed.evaluate() == metrics,
    "hash": cell_hash(config, "data", 0),
    "other_margin": cell_hash(overrides.resolve("retrieval", {**settings, "margin.margin": 4}), "data", 0),
    "other_lr": cell_hash(overrides.resolve("retrieval", {**settings, "srem.regions": 1}), "data", 0),
    "methods": {
        method: cell_hash(overrides.resolve("retrieval", {"hash.method": method}), "data", 0)
        for method in ("adsh", "dsh", "itq", "exchnet")
    },
    "adsh": [adsh.model_dump(mode="json"), adsh.canonical()],
    "adsh_with_margin": cell_hash(overrides.resolve("retrieval", {"margin.margin": 9}), "data", 0),
}))
"""


def test_a_loss_in_one_file_trains_resumes_and_moves_no_other_hash(tmp_path: Path) -> None:
    extension = tmp_path / "my_loss.py"
    extension.write_text(EXTENSION)
    result = run_script(SCRIPT, extension, tmp_path / "cache")
    assert result["margin"] == 3
    for report in result["reports"]:
        assert report["loss"] == pytest.approx(report["pull"] + report["push"], rel=1e-5)
    assert result["map"] > 0.7  # chance is a quarter
    assert result["resumes"]
    assert result["hash"] != result["other_margin"]
    assert result["hash"] == result["other_lr"], "a pairwise method has no SREM"
    # The hashes and dumps of other methods are the same as without the extension.
    for method, hash_ in result["methods"].items():
        assert hash_ == cell_hash(overrides.resolve("retrieval", {"hash.method": method}), "data", 0), method
    assert result["adsh_with_margin"] == result["methods"]["adsh"]
    default = overrides.resolve("retrieval", {})
    assert result["adsh"] == [default.model_dump(mode="json"), default.canonical()]
    extension.write_text(EXTENSION.replace("clamp(min=0)", "clamp(min=0.1)"))
    assert run_script(SCRIPT, extension, tmp_path / "cache")["hash"] != result["hash"], "a changed loss is a new cell"


def test_a_method_without_its_extension_is_one_line_that_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"hash\.method='margin': unknown hashing method 'margin'.* adsh") as caught:
        overrides.resolve("retrieval", {"hash.method": "margin"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EXTENSION.replace('"margin", config', '"adsh", config'), "the hashing method 'adsh' is registered twice"),
        pytest.param(
            EXTENSION.replace('"margin", config', '"train", config'),
            "the configs already have a section 'train'",
            marks=pytest.mark.slow,
        ),
        ("raise RuntimeError('no')", "cannot be imported: RuntimeError: no"),
    ],
)
def test_a_wrong_extension_is_one_line_and_exit_code_2(text: str, message: str, tmp_path: Path) -> None:
    extension = tmp_path / "my_loss.py"
    extension.write_text(text)
    assert_refused("retrieval", extension, message)


def test_settings_list_the_section_of_an_extension(tmp_path: Path) -> None:
    extension = tmp_path / "my_loss.py"
    extension.write_text(EXTENSION)
    child = list_settings("retrieval", extension)
    assert child.returncode == 0, child.stderr
    assert "margin.margin=2.0    # no effect beside the other settings\n    distance beyond which" in child.stdout


def test_an_unknown_method_on_the_command_line_is_one_line_and_exit_code_2() -> None:
    command = [sys.executable, "-m", "raysearch.train", "retrieval", "--set", "hash.method=adhs"]
    child = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert child.returncode == 2
    assert "unknown hashing method 'adhs'; did you mean 'adsh'?" in child.stderr
    assert child.stderr.count("\n") == 1
