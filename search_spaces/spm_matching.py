"""How pixels of support and query should be matched, and how matched pixels should become one number.

python -m raysearch.sweep spm_matching

With the best pair alone ("top1") the matcher can hardly matter: the pair with the largest cosine of all is mostly in
every matching. The released code takes that, the paper's text reads as the mean.
"""

from raysearch.studies.configs import presets
from raysearch.studies.design.ablation import Ablation, factor

study = Ablation(
    question="Does it matter how pixels are matched, and how many of the matched pairs count?",
    task="fewshot",
    base={"model.method": "lwfm", "train.batch": 1, "spm.weight": 1.0},
    reference={"spm.matcher": "hungarian", "spm.reduce": "top1"},
    factors=[
        factor("spm.matcher", "hungarian", "nearest", "mutual", "sinkhorn"),
        factor("spm.reduce", "top1", "topk", "mean"),
    ],
    design="full",
    seeds=3,
    metric="accuracy",
    profiles={"paper": presets.settings("lwfm", "fewshot"), "laptop": {"train.episodes": 140}},
)
