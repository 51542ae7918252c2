"""HelixFormer's features under LWFM-SPM's metric, against each method as published. Neither paper ran this study.

python -m raysearch.sweep helix_under_lwfm
"""

from raysearch import Ablation, choice

study = Ablation(
    question="Do feature maps after cross-attention match better, pixel by pixel, than the plain ones?",
    task="fewshot",
    base={"spm.weight": 1.0, "lwfm.aux": False},
    reference={"model.method": "lwfm", "lwe.layers": [-1]},
    factors=[
        choice(
            "comparison",
            {
                "LWFM-SPM": {"model.method": "lwfm", "lwe.layers": [-1]},
                "HelixFormer": {"model.method": "helixformer", "head.kind": "relation"},
                "HelixFormer, cosine": {"model.method": "helixformer", "head.kind": "cosine"},
                "HelixFormer under LWFM-SPM": {"model.method": "helix_lwfm"},
            },
        )
    ],
    seeds=3,
    metric="accuracy",
    profiles={"paper": {"pretrain.epochs": 100}},
)
