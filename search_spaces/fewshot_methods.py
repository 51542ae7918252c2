"""All few-shot methods under one schedule, 1-shot and 5-shot.

python -m raysearch.sweep fewshot_methods --only episodes.shots=1

"HelixFormer under LWFM-SPM" is in neither paper: the maps that HelixFormer makes of a pair, compared by layer-wise
embedding and semantic-pixel matching in place of the relation head.
"""

from raysearch.studies.design.ablation import Ablation, choice, factor

study = Ablation(
    question="Which way of comparing a query with its supports names most queries right?",
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
    profiles={"paper": {"pretrain.epochs": 100}, "laptop": {"episodes.test": 200, "episodes.validation": 20}},
)
