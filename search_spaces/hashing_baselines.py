"""FCAENet and the hashing methods of its table 1, at four code lengths.

python -m raysearch.sweep hashing_baselines --only hash.bits=24

All methods share backbone, data, schedule and metric. "Baseline" is the paper's: ADSH with the paper's optimizer.
"ADSH" uses the optimizer of its authors' program (no momentum, weight decay 5e-4). "ExchNet-like" is named so because
part of ExchNet is an interpretation; see `raysearch/models/hashing/exchnet.py`. The report also shows the published
numbers of FPH and DaSH, which are not run. Published numbers are those of the run's data set: CUB-200-2011,
FGVC-Aircraft, NABirds, VegFru or Food-101.
"""

from raysearch import Ablation, choice, factor

NO_ESRL = {"srem.regions": 0, "esrl.positive": 0.0, "esrl.erased": 0.0}
BASELINE = {"hash.method": "adsh", **NO_ESRL}

study = Ablation(
    question="How does FCAENet compare with other hashing methods?",
    task="retrieval",
    reference={**BASELINE, "hash.bits": 24},
    factors=[
        choice(
            "method",
            {
                "LSH": {"hash.method": "lsh"},
                "SH": {"hash.method": "sh"},
                "ITQ": {"hash.method": "itq"},
                "SDH": {"hash.method": "sdh"},
                "DPSH": {"hash.method": "dpsh"},
                "DSH": {"hash.method": "dsh"},
                "HashNet": {"hash.method": "hashnet"},
                "ADSH": {**BASELINE, "train.momentum": 0.0, "train.weight_decay": 5e-4},
                "ExchNet-like": {"hash.method": "exchnet", "adsh.gamma": 0.0},
                "Baseline": BASELINE,
                "FCAENet": {"hash.method": "adsh", "srem.regions": 50, "esrl.positive": 0.1, "esrl.erased": 0.1},
            },
        ),
        factor("hash.bits", 12, 24, 32, 48),
    ],
    design="full",
    within=("hash.bits",),
    seeds=3,
    published="fcaenet/table_1_{data}",
)
