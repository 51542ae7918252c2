"""torchvision's networks as backbones; the taps are torchvision's node names."""

from pathlib import Path

import torchvision
from torchvision.models.feature_extraction import create_feature_extractor

from raysearch.core import UserError
from raysearch.models.backbone_specs import BackboneSpec
from raysearch.models.backbones.backbone import Backbone, build_from_module, load_weights


def build_torchvision(spec: BackboneSpec, weights: str | None) -> Backbone:
    """Build a network of torchvision without its classifier; see `BackboneSpec.build`.

    Raises:
        UserError: published weights cannot be downloaded.
    """
    from_file = weights is not None and Path(weights).is_file()
    try:
        network = torchvision.models.get_model(spec.name, weights=None if from_file else weights)
    except OSError as error:
        address = torchvision.models.get_model_weights(spec.name)[str(weights)].url
        raise UserError(
            f"model.weights={weights}: cannot download {address} ({error}); "
            "download it on another machine, and name the file: model.weights=FILE"
        ) from None
    if weights is not None and from_file:
        load_weights(network, weights, optional=("classifier.", "fc."))
    return build_from_module(spec, create_feature_extractor(network, list(spec.taps)), weights=None)
