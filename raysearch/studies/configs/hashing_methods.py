"""The hashing methods by name: the kind of each, the config sections that it uses, and where its code is.

The built-in methods are named by import path, since configs must not import torch. `raysearch.extend.hashing_loss` adds
a method from a file outside the package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raysearch.core import Registry, user_code
from raysearch.studies.configs.task_spec import Reference

_METHODS = "raysearch.tasks.retrieval.methods"


@dataclass(frozen=True)
class HashingMethod:
    """A hashing method before it is built.

    Args:
        name: value of `hash.method`.
        kind: "fitted": an encoder is fitted to features once; "pairwise": a network trains on the pairs of a batch and
            encodes the database; "learned codes": the codes of the database are variables of their own.
        sections: config sections that the method uses, besides those of its kind.
        implementation: `(config, sampler, worker, network) -> Method`, or its import path. A fitted method has none:
            `raysearch.models.hashing` knows it by name.
        network: `(config, backbone, classes) -> network`, or its import path; None: FCAENet's network.
        loss: `(outputs, labels, config section) -> loss`, of an extension.
        source: file of an extension. Its content is part of a cell's hash.
        code: of a user's loss, whose identity is part of a cell's hash.
    """

    name: str
    kind: Literal["fitted", "pairwise", "learned codes"]
    sections: tuple[str, ...] = ()
    implementation: Reference | None = None
    network: Reference | None = None
    loss: Callable[..., Any] | None = None
    source: Path | None = None
    code: user_code.UserCode | None = None

    @property
    def trained(self) -> bool:
        """Whether a network is trained."""
        return self.kind != "fitted"


HASHING_METHODS: Registry[HashingMethod] = Registry("hashing method")

for _method in (
    HashingMethod("lsh", "fitted"),
    HashingMethod("sh", "fitted"),
    HashingMethod("itq", "fitted", ("itq",)),
    HashingMethod("sdh", "fitted", ("sdh",)),
    HashingMethod("dpsh", "pairwise", ("dpsh",), f"{_METHODS}.pairwise:DpshMethod"),
    HashingMethod("dsh", "pairwise", ("dsh",), f"{_METHODS}.pairwise:DshMethod"),
    HashingMethod("hashnet", "pairwise", ("hashnet",), f"{_METHODS}.pairwise:HashNetMethod"),
    HashingMethod(
        "exchnet",
        "learned codes",
        ("adsh", "exchnet"),
        f"{_METHODS}.exchange:ExchNetMethod",
        network=f"{_METHODS}.exchange:build_exchnet",
    ),
    HashingMethod("adsh", "learned codes", ("srem", "esrl", "adsh"), f"{_METHODS}.asymmetric:AsymmetricMethod"),
):
    HASHING_METHODS.register(_method.name, _method)
