"""How LWFM-SPM matches pixels of support and query, and how it reduces the matched pairs to one number.

python -m raysearch.sweep spm_matching

With the best pair alone ("top1") the matcher hardly matters, because the pair with the largest cosine is in almost
every matching. The released code takes "top1"; the paper's text reads as the mean.
"""

from raysearch import Ablation, factor
from raysearch.studies.configs import presets

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
