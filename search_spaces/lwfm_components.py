"""The contribution of layer-wise embedding (LWE) and of semantic-pixel matching (SPM) to LWFM-SPM.

python -m raysearch.sweep lwfm_components
"""

from raysearch import Ablation, factor
from raysearch.studies.configs import presets

PAPER = presets.settings("lwfm", "fewshot")
del PAPER["spm.weight"]  # the study varies it

study = Ablation(
    question="What do layer-wise embedding (LWE) and semantic-pixel matching (SPM) each add?",
    task="fewshot",
    base={"model.method": "lwfm", "train.batch": 1},
    reference={"lwe.on": False, "spm.weight": 0.0},
    factors=[factor("lwe.on", False, True), factor("spm.weight", 0.0, 1.0)],
    design="full",
    seeds=3,
    metric="accuracy",
    profiles={"paper": PAPER, "laptop": {"train.episodes": 200}},
)
