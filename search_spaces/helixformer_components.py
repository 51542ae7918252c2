"""The contribution of HelixFormer's parts: relation mining (RMP), representation enhancement (REP), and the fusion.

python -m raysearch.sweep helixformer_components

"Baseline" is the relation head on features without cross-attention. "neither" still has the embedding's convolution.
"""

from raysearch import Ablation, choice

FULL = {"model.method": "helixformer", "helix.rmp": True, "helix.rep": True, "helix.fusion": "mul"}

study = Ablation(
    question="What do relation mining and representation enhancement each add, and should attention mask or add?",
    task="fewshot",
    reference=FULL,
    factors=[
        choice(
            "components",
            {
                "Baseline": {**FULL, "model.method": "relation"},
                "neither": {**FULL, "helix.rmp": False, "helix.rep": False},
                "REP alone": {**FULL, "helix.rmp": False},
                "RMP alone": {**FULL, "helix.rep": False},
                "HelixFormer": FULL,
                "HelixFormer, added": {**FULL, "helix.fusion": "add"},
                "HelixFormer, masked and added": {**FULL, "helix.fusion": "mul_res"},
            },
        )
    ],
    seeds=3,
    metric="accuracy",
    profiles={"paper": {"pretrain.epochs": 100}},
)
