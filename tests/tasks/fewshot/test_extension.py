"""A head and a backbone in a file outside the package: they train, resume, are hashed, and leave other cells alone."""

from pathlib import Path

import pytest

from raysearch.core import UserError
from raysearch.studies.configs import overrides
from raysearch.studies.design import cell_hash

from ..extension_runs import assert_refused, run_python, run_script

METHODS = ("centroid", "relation", "helixformer", "lwfm", "helix_lwfm")
EXTENSION = """
import torch
from torch import nn
from raysearch.extend import Section, backbone, fewshot_head, setting
from raysearch.models.fewshot import HeadOutput


class ScaledConfig(Section):
    scale: float = setting(4.0, "of the cosines when training begins.", gt=0)


@fewshot_head("scaled", config=ScaledConfig, taps=(-2, -1))
class ScaledCosine(nn.Module):
    def __init__(self, config, shapes):
        super().__init__()
        self.shapes = shapes
        self.project = nn.Linear(sum(shape.channels for shape in shapes), 8)
        self.scale = nn.Parameter(torch.tensor(config.scale))

    def forward(self, support, query):
        centers, queries = (
            nn.functional.normalize(self.project(torch.cat([tap.mean((-2, -1)) for tap in maps], -1)), dim=-1)
            for maps in ([tap.mean(2) for tap in support], query)
        )
        return HeadOutput(self.scale * queries @ centers.mT)


@backbone("tiny", taps=("early", "late"))
class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 4, 3, 2, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(4, 6, 3, 2, padding=1), nn.BatchNorm2d(6), nn.ReLU())

    def forward(self, images):
        early = self.early(images)
        return {"early": early, "late": self.late(early)}
"""
# Runs in a process of its own, since an extension stays registered. RAYSEARCH_EXTENSIONS names the file.
SCRIPT = """
import json, sys
from pathlib import Path
import torch
from raysearch.models import backbones
from raysearch.studies.configs import overrides, parse_config
from raysearch.studies.design.plan import cell_hash
from raysearch.tasks import registry
from raysearch.tasks.base import Worker
from tests.tasks.extension_runs import resume_halfway
from tests.tasks.fewshot.fewshot_runs import BASE, feed

METHODS = ("centroid", "relation", "helixformer", "lwfm", "helix_lwfm")


def config(**changes):
    return overrides.resolve("fewshot", changes)


def hashed(**changes):
    return cell_hash(config(**changes), "data", 0)


torch.set_num_threads(1)
settings = {**BASE, "model.method": "scaled", "model.backbone": "tiny", "train.epochs": 4, "train.episodes": 40}
settings |= overrides.parse(["scaled.scale=5"], "fewshot")
worker = Worker(feed(), Path(sys.argv[1]))
run = config(**settings)
whole = registry.build(run, 0, worker)
head = whole.network.head
started = [head.scale.item(), [list(shape) for shape in head.shapes], list(whole.network.taps)]
reports = [whole.advance() for _ in range(whole.steps)]
resumed = resume_halfway(run, worker)
metrics = whole.evaluate()
weights = Path(sys.argv[1]) / "tiny.pt"
torch.save(whole.network.backbone.network.state_dict(), weights)
loaded = backbones.build("tiny", str(weights)).state_dict()
pretrained = overrides.resolve("pretrain", {"data.side": 16, "model.backbone": "tiny", "train.epochs": 1})
print(json.dumps({
    "started": started,
    "reports": reports,
    "accuracy": metrics["accuracy"],
    "resumes": resumed.evaluate() == metrics,
    "loads": all(torch.equal(value, loaded[name]) for name, value in whole.network.backbone.state_dict().items()),
    "pretrains": registry.build(pretrained, 0, worker).advance()["loss"],
    "round_trip": parse_config(run.canonical()).canonical() == run.canonical(),
    "hash": hashed(**settings),
    "other_scale": hashed(**{**settings, "scaled.scale": 6}),
    "other_depth": hashed(**{**settings, "helix.depth": 3}),
    "of_backbone": hashed(**{"model.backbone": "tiny"}),
    "methods": {method: hashed(**{"model.method": method}) for method in METHODS},
    "dump": [config().model_dump(mode="json"), config().canonical()],
    "unused_scale": hashed(**{"scaled.scale": 9}),
}))
"""


def test_a_head_and_a_backbone_in_one_file_train_resume_and_move_no_other_hash(tmp_path: Path) -> None:
    extension = tmp_path / "my_head.py"
    extension.write_text(EXTENSION)
    result = run_script(SCRIPT, extension, tmp_path / "cache")
    assert result["started"] == [5.0, [[4, 8, 8], [6, 4, 4]], ["early", "late"]]
    losses = [report["loss"] for report in result["reports"]]
    assert losses[-1] < losses[0] * 0.9
    assert result["accuracy"] > 0.6  # chance is a half
    assert result["resumes"]
    assert result["loads"]
    assert result["pretrains"] > 0
    assert result["round_trip"]
    assert result["hash"] != result["other_scale"]
    assert result["hash"] == result["other_depth"], "the method has no HelixFormer"
    # The hashes and dumps of other methods are the same as without the extension.
    default = overrides.resolve("fewshot", {})
    assert result["dump"] == [default.model_dump(mode="json"), default.canonical()]
    for method in METHODS:
        config = overrides.resolve("fewshot", {"model.method": method})
        assert result["methods"][method] == cell_hash(config, "data", 0), method
    assert result["unused_scale"] == result["methods"]["helixformer"]
    extension.write_text(EXTENSION.replace("nn.ReLU()", "nn.GELU()"))
    changed = run_script(SCRIPT, extension, tmp_path / "cache")
    assert changed["hash"] != result["hash"], "a changed head is a new cell"
    assert changed["of_backbone"] != result["of_backbone"], "a changed backbone is a new cell"
    assert changed["methods"] == result["methods"]


def test_unknown_names_are_one_line_that_lists_the_known_ones() -> None:
    for path, message in {
        "model.method": r"model\.method='scaled': unknown few-shot method 'scaled'.* helix_lwfm",
        "model.backbone": r"model\.backbone='scaled': unknown backbone 'scaled'.* small",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            overrides.resolve("fewshot", {path: "scaled"})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"scaled", config', '"lwfm", config', "the few-shot method 'lwfm' is registered twice"),
        pytest.param(
            '"scaled", config',
            '"train", config',
            "the configs already have a section 'train'",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            '"tiny", taps', '"small", taps', "the backbone 'small' is registered twice", marks=pytest.mark.slow
        ),
    ],
)
def test_a_taken_name_is_one_line_and_exit_code_2(old: str, new: str, message: str, tmp_path: Path) -> None:
    extension = tmp_path / "my_head.py"
    extension.write_text(EXTENSION.replace(old, new))
    assert_refused("fewshot", extension, message)


def test_maps_other_than_the_taps_are_one_line(tmp_path: Path) -> None:
    extension = tmp_path / "my_head.py"
    extension.write_text(EXTENSION.replace('taps=("early", "late")', 'taps=("early", "last")'))
    script = "from raysearch.models import backbones; backbones.build('tiny')"
    child = run_python(["-c", script], extension)
    assert "backbone 'tiny': its taps are early, last, but the network returns early, late" in child.stderr
