"""The number and the size of the regions that SREM erases (FCAENet, tables 3 and 4), with "no erasing" added.

python -m raysearch.sweep srem_ablation
"""

from raysearch import Ablation, factor

study = Ablation(
    question="How many regions should SREM erase, and how large should they be?",
    task="retrieval",
    base={"hash.bits": 24},
    reference={"srem.regions": 50, "srem.size": 32},
    factors=[
        factor("srem.regions", 0, 10, 50, 100, 150),
        factor("srem.size", 16, 32, 64, 128),
    ],
    design="one_at_a_time",
    seeds=5,
    metric="map",
    mode="max",
    published="fcaenet/tables_3_4_{data}",
)
