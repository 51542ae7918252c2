"""The hashing methods by name: the kind of each, the config sections that it uses, and where its code is.

The built-in methods are named by import path, since configs must not import torch. `raysearch.extend.hashing_loss` adds
a method from a file outside the package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raysearch.core import Registry
from raysearch.studies.configs.task_spec import Reference

_PAIRWISE = "raysearch.tasks.retrieval.methods.pairwise"


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
    """

    name: str
    kind: Literal["fitted", "pairwise", "learned codes"]
    sections: tuple[str, ...] = ()
    implementation: Reference | None = None
    network: Reference | None = None
    loss: Callable[..., Any] | None = None
    source: Path | None = None

    @property
    def trained(self) -> bool:
        """Whether a network is trained."""
        return self.kind != "fitted"


HASHING_METHODS: Registry[HashingMethod] = Registry("hashing method")


def register_hashing_method(method: HashingMethod) -> HashingMethod:
    """Add a method, and return it.

    Raises:
        UserError: the name is taken.
    """
    return HASHING_METHODS.register(method.name, method)


def known_hashing_method(name: str) -> str:
    """Return the name of a known method.

    Raises:
        UserError: unknown method.
    """
    return HASHING_METHODS[name].name


register_hashing_method(HashingMethod("lsh", "fitted"))
register_hashing_method(HashingMethod("sh", "fitted"))
register_hashing_method(HashingMethod("itq", "fitted", ("itq",)))
register_hashing_method(HashingMethod("sdh", "fitted", ("sdh",)))
register_hashing_method(HashingMethod("dpsh", "pairwise", ("dpsh",), f"{_PAIRWISE}:DpshMethod"))
register_hashing_method(HashingMethod("dsh", "pairwise", ("dsh",), f"{_PAIRWISE}:DshMethod"))
register_hashing_method(HashingMethod("hashnet", "pairwise", ("hashnet",), f"{_PAIRWISE}:HashNetMethod"))
register_hashing_method(
    HashingMethod(
        "exchnet",
        "learned codes",
        ("adsh", "exchnet"),
        "raysearch.tasks.retrieval.methods.exchange:ExchNetMethod",
        network="raysearch.tasks.retrieval.methods.exchange:build_exchnet",
    )
)
register_hashing_method(
    HashingMethod(
        "adsh",
        "learned codes",
        ("srem", "esrl", "adsh"),
        "raysearch.tasks.retrieval.methods.asymmetric:AsymmetricMethod",
    )
)
