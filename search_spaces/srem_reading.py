"""Two choices that FCAENet's text leaves open: the grid on which SREM ranks positions, and where it puts a box.

python -m raysearch.sweep srem_reading

The paper ranks every pixel and places boxes below and right of it. The highest pixels are then neighbors, and 50 boxes
erase 3 % of an image. On a coarse grid the boxes spread out. The column "Erased" shows the erased share.
"""

from raysearch import Ablation, choice, factor

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
