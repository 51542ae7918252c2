"""Weights of the two terms of the enhancing space relation loss (ESRL), searched per code length.

python -m raysearch.sweep esrl_weights

The FCAENet paper names the two weights but prints no values. The reference sets both to 0.1.
"""

from ray import tune

from raysearch import Search, factor

study = Search(
    question="How much should the two terms of ESRL weigh, for each code length?",
    task="retrieval",
    space={"esrl.positive": tune.loguniform(1e-3, 10.0), "esrl.erased": tune.loguniform(1e-3, 10.0)},
    reference={"esrl.positive": 0.1, "esrl.erased": 0.1},
    starts=[{"esrl.positive": 0.1, "esrl.erased": 0.1}],
    group=factor("hash.bits", 12, 24, 32, 48),
    trials=16,
    judge_seeds=5,
    profiles={"paper": {"data.validation": 0.1}},
)
