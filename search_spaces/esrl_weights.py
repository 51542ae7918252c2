"""How much the two terms of the enhancing space relation loss should weigh, for each code length of the paper.

python -m raysearch.sweep esrl_weights

The paper names the weights and not their values; the reference is 0.1 for both, where one would start.
"""

from ray import tune

from raysearch.studies.design.ablation import Search, factor

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
