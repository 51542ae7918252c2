"""All few-shot methods under one training schedule, with 1 and with 5 shots.

python -m raysearch.sweep fewshot_methods --only episodes.shots=1

"HelixFormer under LWFM-SPM" is in neither paper. It takes the feature maps that HelixFormer computes for a pair, and
compares them by layer-wise embedding and semantic-pixel matching instead of the relation head. Published numbers are
HelixFormer's, of the run's data set and backbone.
"""

from raysearch import Ablation, choice, factor

study = Ablation(
    question="Which way to compare a query with its supports classifies most queries correctly?",
    task="fewshot",
    reference={"model.method": "centroid", "episodes.shots": 1},
    factors=[
        choice(
            "method",
            {
                "Nearest centroid": {"model.method": "centroid"},
                "Relation head": {"model.method": "relation"},
                "HelixFormer": {"model.method": "helixformer"},
                "LWFM-SPM": {"model.method": "lwfm"},
                "HelixFormer under LWFM-SPM": {"model.method": "helix_lwfm"},
            },
        ),
        factor("episodes.shots", 1, 5),
    ],
    design="full",
    within=("episodes.shots",),
    base={"spm.weight": 1.0},
    seeds=3,
    metric="accuracy",
    published="helixformer/tables_1_to_3_{data}",
    profiles={"paper": {"pretrain.epochs": 100}, "laptop": {"episodes.test": 200, "episodes.validation": 20}},
)
