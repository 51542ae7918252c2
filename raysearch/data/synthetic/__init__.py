"""The embedded data set: drawn birds whose kinds differ in small parts, so that a study runs without a download.

`dataset` says which kinds and images there are; the other files draw them.
"""

from raysearch.data.synthetic.birds import LEVELS
from raysearch.data.synthetic.dataset import (
    DRAWING,
    OVERSAMPLING,
    SPLITS,
    Spec,
    class_names,
    draw,
    ensure,
    generator,
    images,
    parse,
    samples,
    traits,
)

__all__ = [
    "DRAWING",
    "LEVELS",
    "OVERSAMPLING",
    "SPLITS",
    "Spec",
    "class_names",
    "draw",
    "ensure",
    "generator",
    "images",
    "parse",
    "samples",
    "traits",
]
