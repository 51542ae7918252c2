"""The backbone layers that layer-wise embedding matches: from the last one to the last four.

python -m raysearch.sweep lwe_layers
python -m raysearch.sweep lwe_layers --profile paper --data shards/ --set model.backbone=resnet18

Layers are counted from the last, so the study fits every backbone. ResNet-18 has nine: -1 to -9.
"""

from raysearch import Ablation, factor
from raysearch.studies.configs import presets

study = Ablation(
    question="Which layers of the backbone should be embedded and matched?",
    task="fewshot",
    base={"model.method": "lwfm", "train.batch": 1, "spm.weight": 1.0},
    reference={"lwe.layers": [-2, -1]},
    factors=[factor("lwe.layers", [-1], [-2, -1], [-3, -1], [-3, -2, -1], [-4, -3, -2, -1])],
    seeds=3,
    metric="accuracy",
    profiles={"paper": presets.settings("lwfm", "fewshot"), "laptop": {"train.episodes": 200}},
)
