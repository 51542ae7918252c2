"""FCAENet's baseline and the baseline of ExchNet (FCAENet, table 5).

python -m raysearch.sweep exchnet_baseline --only hash.bits=24

"ExchNet_Baseline" is ExchNet without its parts: no attention, no local features, no exchange. What remains is ADSH with
gamma 0, on the features of the whole image. "Baseline" has gamma 200. The published numbers are those of CUB-200-2011
and Food-101.
"""

from raysearch import Ablation, choice, factor

BASELINE = {"hash.method": "adsh", "srem.regions": 0, "esrl.positive": 0.0, "esrl.erased": 0.0}

study = Ablation(
    question="Is FCAENet's baseline stronger than ExchNet's, and how much do their parts add?",
    task="retrieval",
    design="full",
    within=("hash.bits",),
    seeds=5,
    published="fcaenet/table_5_{data}",
    reference={**BASELINE, "hash.bits": 24},
    factors=[
        choice(
            "method",
            {
                "ExchNet_Baseline": {**BASELINE, "adsh.gamma": 0.0},
                "ExchNet-like": {"hash.method": "exchnet", "adsh.gamma": 0.0},
                "Baseline": BASELINE,
                "FCAENet": {"hash.method": "adsh", "srem.regions": 50, "esrl.positive": 0.1, "esrl.erased": 0.1},
            },
        ),
        factor("hash.bits", 24, 48),
    ],
)
