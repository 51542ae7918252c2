"""Why images of two classes have similarity -rho and not -1: with -1, as printed, all codes become one.

python -m raysearch.sweep similarity_ratio

Look at "codes_per_class" and the distinct codes of the database, too: a collapsed database has one code for all.
"""

from raysearch.studies.design.ablation import Ablation, factor

study = Ablation(
    question="What does the similarity of unlike images do to the codes?",
    task="retrieval",
    reference={"adsh.similarity": "soft", "hash.bits": 24},
    factors=[factor("adsh.similarity", "soft", "hard"), factor("hash.bits", 12, 24, 48)],
    design="full",
    within=("hash.bits",),
    seeds=3,
)
