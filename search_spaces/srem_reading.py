"""Two choices that FCAENet's text leaves open: the grid that is ranked, and where a box lies about its pixel.

python -m raysearch.sweep srem_reading

The paper ranks every pixel and hangs boxes below and right of it. Then the highest pixels are neighbours, and 50 boxes
erase 3 % of an image; on a coarse grid they spread. The column "Erased" says how much it is.
"""

from raysearch.studies.design.ablation import Ablation, choice, factor

PIXELS = {"srem.grid": None}

study = Ablation(
    question="Does it matter on which grid SREM ranks positions, and where it puts its boxes?",
    task="retrieval",
    reference={**PIXELS, "srem.center": False},
    factors=[
        choice(
            "ranked",
            {"every pixel": PIXELS, **{f"{side} x {side}": {"srem.grid": side} for side in (56, 28, 14)}},
        ),
        factor("srem.center", False, True),
    ],
    design="full",
    seeds=5,
)
