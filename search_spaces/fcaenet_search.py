"""A joint search over FCAENet's regions, region size, ESRL weights and learning rate: accuracy against time.

python -m raysearch.sweep fcaenet_search --trials 60
"""

from ray import tune

from raysearch import Search

PAPER = {"srem.regions": 50, "srem.size": 32, "esrl.positive": 0.1, "esrl.erased": 0.1, "train.lr": 1e-3}

study = Search(
    question="Which regions, size, loss weights and learning rate retrieve best, and what does an epoch cost?",
    task="retrieval",
    base={"hash.bits": 24},
    space={
        "srem.regions": tune.randint(0, 151),
        "srem.size": tune.randint(16, 129),
        "esrl.positive": tune.loguniform(1e-3, 10.0),
        "esrl.erased": tune.loguniform(1e-3, 10.0),
        "train.lr": tune.loguniform(1e-5, 1e-2),
    },
    reference=PAPER,
    starts=[PAPER],
    metric=["map_validation", "epoch_seconds"],
    mode=["max", "min"],
    scheduler="asha",
    trials=40,
    judge_seeds=5,
    profiles={"paper": {"data.validation": 0.1}},
)
