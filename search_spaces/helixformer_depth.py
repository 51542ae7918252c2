"""HelixFormer's accuracy against its number of cross-attention layers.

python -m raysearch.sweep helixformer_depth
"""

from raysearch import Ablation, factor

study = Ablation(
    question="How many layers of cross-attention between support and query should HelixFormer have?",
    task="fewshot",
    base={"model.method": "helixformer"},
    reference={"helix.depth": 1},
    factors=[factor("helix.depth", 1, 2, 3, 4)],
    seeds=3,
    metric="accuracy",
    profiles={"paper": {"pretrain.epochs": 100}},
)
