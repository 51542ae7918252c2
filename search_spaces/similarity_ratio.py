"""The similarity of images of two classes: -rho, or -1 as printed, with which all codes collapse to one.

python -m raysearch.sweep similarity_ratio

Compare "codes_per_class" and the number of distinct database codes as well: a collapsed database has a single code.
"""

from raysearch import Ablation, factor

study = Ablation(
    question="What does the similarity of unlike images do to the codes?",
    task="retrieval",
    reference={"adsh.similarity": "soft", "hash.bits": 24},
    factors=[factor("adsh.similarity", "soft", "hard"), factor("hash.bits", 12, 24, 48)],
    design="full",
    within=("hash.bits",),
    seeds=3,
)
