"""FCAENet without each of its parts in turn.

python -m raysearch.sweep fcaenet_leave_one_out
"""

from raysearch import Ablation, component

study = Ablation(
    question="Which parts of FCAENet does its accuracy depend on?",
    task="retrieval",
    reference={"srem.regions": 50, "esrl.positive": 0.1, "esrl.erased": 0.1, "adsh.gamma": 200.0},
    factors=[
        component("SREM", off={"srem.regions": 0, "esrl.erased": 0.0}),
        component("the distance to positives", off={"esrl.positive": 0.0}),
        component("ESRL", off={"esrl.positive": 0.0, "esrl.erased": 0.0}),
        component("the quantization term", off={"adsh.gamma": 0.0}),
    ],
    design="leave_one_out",
    seeds=5,
)
