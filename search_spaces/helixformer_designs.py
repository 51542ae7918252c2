"""The direction and order of HelixFormer's cross-attention between support and query (HelixFormer, figure 3).

python -m raysearch.sweep helixformer_designs
"""

from raysearch import Ablation, factor

study = Ablation(
    question="Should support and query learn from each other, and does it matter who begins?",
    task="fewshot",
    base={"model.method": "helixformer"},
    reference={"helix.design": "sym"},
    factors=[factor("helix.design", "q2s", "s2q", "s_then_q", "q_then_s", "sym")],
    seeds=3,
    metric="accuracy",
    profiles={"paper": {"pretrain.epochs": 100}},
)
