"""Hashing methods that FCAENet is compared with.

Shallow methods learn an encoder from the features of a network (`fit`, `restore`); all but SDH ignore labels. Deep
methods are losses of a network's outputs (`dpsh`, `dsh`, `hashnet`) or a network of their own (`exchnet`).

Legend: `n` images, `d` channels of a feature, `c` bits, `K` classes, `B` batch.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from raysearch.core import Registry, UserError, nearest
from raysearch.models.hashing import itq, lsh, sdh, spectral
from raysearch.models.hashing.encoder import Encoder


class ShallowMethod(NamedTuple):
    """A method that learns an encoder from features."""

    fit: Callable[..., Encoder]  # (features, labels, bits, seed, *, options)
    encoder: Callable[..., Encoder]  # (the buffers of a state)


METHODS = Registry[ShallowMethod]("hashing method")
METHODS.register("lsh", ShallowMethod(lsh.fit, lsh.ProjectionEncoder))
METHODS.register("sh", ShallowMethod(spectral.fit, spectral.SpectralEncoder))
METHODS.register("itq", ShallowMethod(itq.fit, lsh.ProjectionEncoder))
METHODS.register("sdh", ShallowMethod(sdh.fit, sdh.KernelEncoder))


@torch.no_grad()
def fit(name: str, features: Tensor, labels: Tensor | None, bits: int, seed: int = 0, **options: Any) -> Encoder:
    """Learn an encoder. The same arguments give the same encoder.

    Args:
        name: "lsh", "sh", "itq" or "sdh".
        features: (n, d) of any float dtype, on any device; computed in float64, in blocks of rows.
        labels: (n,) integers; "sdh" needs them, the others also take None.
        bits: c.
        seed: the seed of the random draws; "sh" draws nothing.
        options: the options of the method, see `fit` in its module.

    Returns:
        A module: `encoder(features (m, d)) -> codes (m, c)` in {-1, +1}, float32, on the features' device.

    Raises:
        UserError: unknown method or option.
        ValueError: shapes that do not fit, values that are not finite, or too little to learn from.

    >>> features = torch.tensor([[0.0, 0.0], [0.1, 0.0], [9.0, 0.0], [9.1, 0.0]])
    >>> encoder = fit("sh", features, None, bits=1)
    >>> encoder(features).flatten().tolist()
    [1.0, 1.0, -1.0, -1.0]
    """
    method = METHODS[name]
    known = [
        option.name
        for option in inspect.signature(method.fit).parameters.values()
        if option.kind is option.KEYWORD_ONLY
    ]
    for option in options:
        if option not in known:
            raise UserError(f"{name} has no option '{option}'{nearest(option, known)}")
    if features.ndim != 2 or not features.is_floating_point() or features.shape[1] == 0:
        raise ValueError(f"features must be (n, d) floats, got {tuple(features.shape)} of {features.dtype}")
    if len(features) < 2:
        raise ValueError(f"{name} cannot learn from {len(features)} images; it needs at least two")
    if labels is not None and (labels.shape != features.shape[:1] or labels.is_floating_point()):
        raise ValueError(
            f"labels must be ({len(features)},) integers, one per feature, got {tuple(labels.shape)} of {labels.dtype}"
        )
    if bits < 1:
        raise ValueError(f"a code has at least one bit, got bits={bits}")
    if not features.isfinite().all():
        raise ValueError("features hold values that are not finite")
    if (features == features[0]).all():
        raise ValueError(f"all {len(features)} features are the same, so there is nothing to learn")
    return method.fit(features, labels, bits, seed, **options)


def restore(name: str, state: Mapping[str, Tensor]) -> Encoder:
    """Restore an encoder from its `state_dict()`, which `torch.load(weights_only=True)` reads.

    Raises:
        UserError: unknown method.
        ValueError: the state is of another method.

    >>> encoder = fit("lsh", torch.eye(3), None, bits=4)
    >>> restored = restore("lsh", encoder.state_dict())
    >>> torch.equal(restored(torch.eye(3)), encoder(torch.eye(3)))
    True
    """
    encoder = METHODS[name].encoder
    buffers = inspect.signature(encoder).parameters
    if set(state) != set(buffers):
        raise ValueError(f"a state of {name} holds {', '.join(buffers)}, not {', '.join(state) or 'nothing'}")
    return encoder(**state)
