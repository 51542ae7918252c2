"""The embedded data set: drawn birds whose kinds differ in small parts, so that a study runs without a download.

`dataset` says which kinds and images there are; the other files draw them.
"""

from raysearch.data.synthetic.birds import LEVELS
from raysearch.data.synthetic.dataset import (
    DRAWING,
    OVERSAMPLING,
    SPLITS,
    SyntheticSpec,
    class_names,
    class_traits,
    count_images,
    draw_image,
    draw_images,
    ensure_shards,
    image_generator,
    image_mark,
    list_samples,
    parse_spec,
    planted_effects,
)

__all__ = [
    "DRAWING",
    "LEVELS",
    "OVERSAMPLING",
    "SPLITS",
    "SyntheticSpec",
    "class_names",
    "class_traits",
    "count_images",
    "draw_image",
    "draw_images",
    "ensure_shards",
    "image_generator",
    "image_mark",
    "list_samples",
    "parse_spec",
    "planted_effects",
]
