"""Config sections of the hashing methods: SREM, ESRL and ADSH of FCAENet, and the methods compared with it.

A default is the paper's value if the paper gives one, else the value of the authors' or another public program.
"""

from typing import Any, Literal

from raysearch.studies.configs.base import Section, setting


def _has_no_erased_view(config: Any) -> bool:
    """Return whether a config of ADSH has the hash loss see erased views although there are none."""
    return config.hash.method == "adsh" and config.adsh.views == "erased" and not config.uses_erased


class SremConfig(Section):
    """Selective region erasing."""

    regions: int = setting(
        50, "number of boxes erased per image; 0 erases nothing. The paper's choice (its table 3).", ge=0
    )
    size: int = setting(
        32,
        "side of a box in pixels. The paper's choice (its table 4).",
        ge=1,
        json_schema_extra={"pixels_of_side": 224},
    )
    grid: int | None = setting(
        None,
        "rank positions on a (grid, grid) map instead of all pixels. The paper resizes the map to the image. On pixels "
        "the highest positions are neighbours, so boxes overlap and 50 of them erase 3 % of an image. A coarse grid "
        "spreads them.",
        ge=1,
    )
    center: bool = setting(
        False,
        "center the box on its pixel. In the paper the pixel is the top-left corner, so boxes extend below and right "
        "of the peak.",
    )
    ties: Literal["raster", "any"] = setting(
        "raster",
        "which of equal positions come first: in reading order, or in whatever order the sort returns. Ties are common "
        "at the flat borders of an upsampled map. Reading order is the same on every machine.",
    )
    align_corners: bool = setting(
        False,
        "bilinear upsampling that pins the map's corner cells to the image's corners. Off is today's default.",
    )
    mask_pass: Literal["anchor", "separate"] = setting(
        "anchor",
        "whose feature map is ranked. anchor: that of the anchors' own training pass (three passes per step). "
        "separate: that of a further pass without gradient and with running statistics; all views then share one "
        "forward pass and its batch statistics (four passes). The first is cheaper.",
    )


class EsrlConfig(Section):
    """Enhancing space relation loss."""

    positive: float = setting(
        0.1,
        "weight of the distance between an image and another of its class: alpha / bits of the paper. The paper's "
        "values depend on the code length and are not printed. The study `esrl_weights` searches for better ones.",
        ge=0,
    )
    erased: float = setting(
        0.1,
        "weight of the distance between an image and itself with regions erased: beta / bits of the paper.",
        canonical=lambda config: config.esrl.erased if config.uses_erased else 0.0,
        ge=0,
    )
    positives: Literal["database", "sample"] = setting(
        "database",
        "where the other image of the class comes from: all of train, or the iteration's sample, in which a class may "
        "have a single image.",
        used_if=lambda config: config.uses_positive,
    )
    stop_gradient: Literal["none", "anchor", "others"] = setting(
        "none",
        "whose outputs have no gradient in the distance. The paper has one network for all views and stops none.",
        used_if=lambda config: config.esrl.positive or (config.esrl.erased and config.uses_erased),
    )


class AdshConfig(Section):
    """Asymmetric hashing: losses and code updates."""

    gamma: float = setting(
        200.0,
        "weight of the distance between outputs and database codes. ADSH's value; the paper's printed loss can be read "
        "with and without the term. Relative to the hash loss it weighs gamma / database size, 3 % on CUB.",
        ge=0,
    )
    similarity: Literal["soft", "hard"] = setting(
        "soft",
        "similarity of two classes. soft: -rho, such that all similarities sum to zero. hard: -1, as ADSH prints it; "
        "all codes then become equal. Every public program uses the soft one.",
    )
    sweeps: int = setting(
        1, "passes over the bits in a code update. ADSH makes one; more cannot raise the objective.", ge=1
    )
    bit_norm: bool = setting(
        False,
        "multiply the hash loss by 12 / bits, so that one learning rate suits all code lengths. Not in the paper.",
    )
    views: Literal["anchor", "erased", "all"] = setting(
        "anchor",
        "which outputs the hash loss sees: anchors; also erased images; also positives. The paper's equation 10 has "
        "the anchors alone; its table 2 may have added the erased ones.",
        canonical=lambda config: "anchor" if _has_no_erased_view(config) else config.adsh.views,
    )
    outputs: Literal["last_epoch", "fresh"] = setting(
        "last_epoch",
        "which outputs a code update sees. last_epoch: those collected during the last epoch, slightly old and of "
        "augmented images, as public programs do. fresh: those of a further pass over the plain sample.",
    )
    pull: Literal["outputs", "signs"] = setting(
        "outputs",
        "what attracts the codes of a class in an update: outputs, or their signs as in ADSH's own MATLAB program. The "
        "minimized objective has outputs.",
    )
    start: Literal["signs", "normal"] = setting(
        "signs",
        "database codes before the first update: random signs, as the paper says, or normal numbers, as public "
        "programs do. Zeros would give the hash loss no gradient.",
    )
    zero: Literal["keep", "plus"] = setting(
        "keep",
        "a bit whose two values cost the same keeps its value, or becomes +1. Keeping never raises the loss.",
    )


class ItqConfig(Section):
    """Iterative quantization."""

    iterations: int = setting(50, "number of rotations. The paper's value (Gong and Lazebnik 2011).", ge=1)


class SdhConfig(Section):
    """Supervised discrete hashing."""

    anchors: int = setting(
        1000, "number of images that the kernel compares with. The paper's value (Shen et al. 2015).", ge=1
    )
    iterations: int = setting(5, "iterations of the fit. The paper finds 3 to 5 enough.", ge=1)
    lam: float = setting(1.0, "lambda, the weight decay of the classifier on the codes. The paper's value.", gt=0)
    nu: float = setting(
        1e-5, "nu, the weight of the distance between codes and their prediction. The paper's value.", gt=0
    )
    width: float | None = setting(
        None,
        "g of the kernel exp(-g distance^2). none: 1 / (2 median distance^2), since the scale of features varies.",
        gt=0,
    )
    ridge: float = setting(
        1e-6,
        "weight of the kernel machine's size, against rounding. The authors' program has 0.01.",
        used_if=lambda config: config.sdh.ridge != SdhConfig.model_fields["ridge"].default,  # later than its cells
        gt=0,
    )
    bias: bool = setting(
        False,
        "a constant beside the kernels. The authors' program has it, the paper's equations do not.",
        used_if=lambda config: config.sdh.bias,  # later than its cells
    )


class PairsConfig(Section):
    """Batches of the methods that train on pairs."""

    per_class: int = setting(
        0,
        "images of a class that stay together in a batch; 0: batches are random. With 200 classes one pair in 200 is "
        "then similar, as in the published results. About 4 makes these methods stronger.",
        ge=0,
    )


class DpshConfig(Section):
    """Deep pairwise-supervised hashing."""

    eta: float = setting(0.1, "weight of the distance between outputs and their signs, for mean losses.", ge=0)


class DshConfig(Section):
    """Deep supervised hashing."""

    margin: float = setting(2.0, "times bits: squared distance beyond which dissimilar images are left alone.", gt=0)
    alpha: float = setting(0.01, "weight of the pull of outputs towards -1 and +1. The paper's value.", ge=0)


class HashnetConfig(Section):
    """HashNet."""

    alpha: float = setting(10.0, "over bits: scale of the inner products. The value of the authors' program.", gt=0)
    growth: float = setting(
        0.005, "growth of the scale of tanh: sqrt(1 + growth x step). The value of the authors' program.", ge=0
    )
    every: int = setting(200, "steps between two changes of that scale. The value of the authors' program.", ge=1)


class ExchnetConfig(Section):
    """ExchNet: local features of attention maps, exchanged within a class."""

    parts: int = setting(
        4, "number of attention maps, each of a local feature. The paper's value (Cui et al. 2020).", ge=1
    )
    spatial: float = setting(
        1.0, "weight of the similarity of the attention maps. The value of a public program.", ge=0
    )
    channel: float = setting(
        1.0, "weight of the similarity of the local features. The value of a public program.", ge=0
    )
    threshold: float = setting(
        0.4, "Hellinger distance of channels that is large enough. The value of a public program.", ge=0
    )
    alignment: float = setting(
        0.0,
        "weight of the distance between local features and their class's anchor. Optional in the public program.",
        ge=0,
    )
    align_after: float = setting(
        0.5,
        "share of the iterations after which local features are exchanged with their class's anchors. A public program "
        "begins after 50 iterations; FCAENet's schedule has 40.",
        ge=0,
        le=1,
    )
    exchange: float = setting(0.5, "probability of an exchange. The value of a public program.", ge=0, le=1)
