"""A negative control: two choices that cannot matter, so that a difference which is decided is a mistake.

python -m raysearch.sweep null_control

Each choice changes the numbers of a cell, because it changes random draws or their order, and none has an effect:

- `adsh.start=normal` begins with other random codes. The warm-up replaces all of them several times.
- `srem.ties=any` takes another of several equally high positions, which are neighbors at the border of the map.

The report should say that no variant differs from the reference. At the 5 % level one run in twenty says otherwise:
`benchmarks/controls.py` counts how often it does. `srem_ablation` on the embedded data is the positive control.
"""

from raysearch import Ablation, factor

study = Ablation(
    question="Do choices differ that cannot matter? (a negative control)",
    task="retrieval",
    base={"hash.bits": 24},
    reference={"adsh.start": "signs", "srem.ties": "raster"},
    factors=[
        factor("adsh.start", "signs", "normal"),
        factor("srem.ties", "raster", "any"),
    ],
    design="one_at_a_time",
    seeds=5,
    metric="map",
    mode="max",
)
