"""HelixFormer and its baseline, a relation head, with both backbones and 1 shot (HelixFormer, tables 1 to 3).

python -m raysearch.sweep helixformer_tables --profile paper --data shards/dogs

The report shows the published numbers of the run's own data set: Stanford Dogs, Stanford Cars, NABirds, CUB-200-2011 or
FGVC-Aircraft. On CUB the authors only mirror images: add `--set data.augment=flip --set pretrain.augment=flip`. The
study `helixformer_tables_5shot` has their schedule of 5 shots.
"""

from raysearch import Ablation, choice, factor
from raysearch.studies.configs import presets

PAPER = presets.settings("helixformer", "fewshot")
del PAPER["model.method"]  # the study varies it

study = Ablation(
    question="What does HelixFormer add to a relation head, with a small and with a larger backbone?",
    task="fewshot",
    reference={"model.method": "relation", "model.backbone": "conv4"},
    factors=[
        choice(
            "method", {"Relation head": {"model.method": "relation"}, "HelixFormer": {"model.method": "helixformer"}}
        ),
        factor("model.backbone", "conv4", "resnet12"),
    ],
    design="full",
    within=("model.backbone",),
    seeds=3,
    metric="accuracy",
    published="helixformer/tables_1_to_3_{data}",
    # on a laptop, heads train on maps of a backbone that is pre-trained briefly
    profiles={"paper": PAPER, "laptop": {"model.weights": None, "pretrain.epochs": 2, "episodes.test": 200}},
)
