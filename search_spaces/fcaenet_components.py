"""The contribution of SREM and of ESRL to FCAENet's baseline, at four code lengths (FCAENet, table 2).

python -m raysearch.sweep fcaenet_components --only hash.bits=12,24

The paper does not say how "Baseline+SREM" was trained. Here its hash loss sees the erased images too, and no loss pulls
views together. "Baseline+SREM (distance)" is the other reading: erased images enter only through their distance to the
image. "Baseline+ESRL" has the distance to positives alone, because without SREM nothing is erased. The paper's table is
of Food-101; of its four other data sets, table 1 has the numbers of Baseline and FCAENet.
"""

from raysearch import Ablation, choice, factor

NONE = {"srem.regions": 0, "esrl.positive": 0.0, "esrl.erased": 0.0, "adsh.views": "anchor"}

study = Ablation(
    question="Does erasing regions help, does pulling views together help, and do both together?",
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
    published="fcaenet/table_2_{data}",
)
