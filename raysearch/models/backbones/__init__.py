"""Networks that turn images into feature maps with named taps.

`build` makes one by its name. `raysearch.models.backbone_specs` lists them without importing torch.
"""

from raysearch.models.backbone_specs import BACKBONES, BackboneSpec, check_weights
from raysearch.models.backbones.backbone import Backbone, build, weight_bytes

__all__ = ["BACKBONES", "Backbone", "BackboneSpec", "build", "check_weights", "weight_bytes"]
