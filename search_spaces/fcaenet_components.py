"""What SREM and ESRL each add to the baseline, over four code lengths: table 2 of FCAENet.

python -m raysearch.sweep fcaenet_components --only hash.bits=12,24

How the paper ran "Baseline+SREM" is not known: here the hash loss sees the erased images too, and nothing draws views
together. "Baseline+SREM (distance)" is the other reading: erased images enter by their distance to the image alone.
"Baseline+ESRL" has the distance to positives, since without SREM nothing is erased.
"""

from raysearch.studies.design.ablation import Ablation, choice, factor

NONE = {"srem.regions": 0, "esrl.positive": 0.0, "esrl.erased": 0.0, "adsh.views": "anchor"}

study = Ablation(
    question="Does erasing regions help, does drawing views together help, and do both?",
    task="retrieval",
    reference={**NONE, "hash.bits": 24},
    factors=[
        choice(
            "components",
            {
                "Baseline": NONE,
                "Baseline+SREM": {**NONE, "srem.regions": 50, "adsh.views": "erased"},
                "Baseline+SREM (distance)": {**NONE, "srem.regions": 50, "esrl.erased": 0.1},
                "Baseline+ESRL": {**NONE, "esrl.positive": 0.1},
                "FCAENet": {**NONE, "srem.regions": 50, "esrl.positive": 0.1, "esrl.erased": 0.1},
            },
        ),
        factor("hash.bits", 12, 24, 32, 48),
    ],
    design="full",
    within=("hash.bits",),
    seeds=5,
    published="fcaenet/table_2",
)
