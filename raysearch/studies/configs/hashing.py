"""Sections of the hashing methods: SREM, ESRL and ADSH of FCAENet, and of what FCAENet is compared with.

Defaults are each paper's where it says, and its authors' or a public program's where it does not.
"""

from typing import Any, Literal

from raysearch.studies.configs.base import Section, setting


def _hashes_no_erased_view(config: Any) -> bool:
    """Whether a config of ADSH asks the hash loss for erased views, of which there are none."""
    return config.hash.method == "adsh" and config.adsh.views == "erased" and not config.uses_erased


class SremConfig(Section):
    regions: int = setting(50, "boxes erased an image; 0 erases nothing. The paper's choice (its table 3).", ge=0)
    size: int = setting(
        32,
        "side of a box in pixels. The paper's choice (its table 4).",
        ge=1,
        json_schema_extra={"pixels_of_side": 224},
    )
    grid: int | None = setting(
        None,
        "rank positions on a (grid, grid) map instead of every pixel. The paper brings the map to image size; on "
        "pixels the highest ones are neighbours, so boxes overlap and 50 erase 3 % of an image; a coarse grid "
        "spreads them.",
        ge=1,
    )
    center: bool = setting(
        False,
        "put the box around its pixel. In the paper the pixel is the top-left corner, so boxes hang below and "
        "right of the peak.",
    )
    ties: Literal["raster", "any"] = setting(
        "raster",
        "which of equal positions come first: in reading order, or whichever the sort yields. The flat "
        "borders of an upsampled map make equals common; reading order is the same on every machine.",
    )
    align_corners: bool = setting(
        False, "bilinear upsampling that pins the map's corner cells to the image's corners. Today's default is not to."
    )
    mask_pass: Literal["anchor", "separate"] = setting(
        "anchor",
        "whose feature map is ranked: the anchors' own training pass (three passes a step), or a pass of its "
        "own without gradient and with running statistics, after which all views share one forward and its batch "
        "statistics (four passes). The first is cheaper.",
    )


class EsrlConfig(Section):
    positive: float = setting(
        0.1,
        "weight of the distance between an image and another of its class, alpha / bits of the paper. The paper's "
        "values depend on the code length and are not printed; 0.1 is where to start, `esrl_weights` looks for better.",
        ge=0,
    )
    erased: float = setting(
        0.1,
        "weight of the distance between an image and itself with regions erased, beta / bits of the paper.",
        canonical=lambda config: config.esrl.erased if config.uses_erased else 0.0,
        ge=0,
    )
    positives: Literal["database", "sample"] = setting(
        "database",
        "where the other image of the class comes from: all of train, or the iteration's sample, in which "
        "a class may have a single image.",
        used_if=lambda config: config.uses_positive,
    )
    stop_gradient: Literal["none", "anchor", "others"] = setting(
        "none",
        "whose outputs are held fixed in the distance. The paper has one network for all views and stops none.",
        used_if=lambda config: config.esrl.positive or (config.esrl.erased and config.uses_erased),
    )


class AdshConfig(Section):
    gamma: float = setting(
        200.0,
        "weight of the distance between outputs and database codes. ADSH's value; the paper's printed loss reads "
        "both with and without the term. Against the hash loss it weighs gamma / database size, 3 % on CUB.",
        ge=0,
    )
    similarity: Literal["soft", "hard"] = setting(
        "soft",
        "of two classes: -rho such that similarities sum to zero, or -1. With -1, as ADSH prints it, all codes "
        "collapse to one; every public program uses the soft one.",
    )
    sweeps: int = setting(1, "passes over the bits in an update of the codes. ADSH makes one; no pass can hurt.", ge=1)
    bit_norm: bool = setting(
        False, "multiply the hash loss by 12 / bits, so that one rate serves all code lengths. Not in the paper."
    )
    views: Literal["anchor", "erased", "all"] = setting(
        "anchor",
        "which outputs the hash loss sees: anchors, with erased images, with positives too. The paper's "
        "equation 10 names the anchors' alone; its table 2 may have added the erased ones.",
        canonical=lambda config: "anchor" if _hashes_no_erased_view(config) else config.adsh.views,
    )
    outputs: Literal["last_epoch", "fresh"] = setting(
        "last_epoch",
        "what an update of the codes sees: the outputs collected during the last epoch, a little old and "
        "of augmented images, as public programs do; or those of one more pass over the plain sample.",
    )
    pull: Literal["outputs", "signs"] = setting(
        "outputs",
        "what pulls a class's codes in an update: outputs, or their signs as in ADSH's own MATLAB program. "
        "The objective that is minimised has outputs.",
    )
    start: Literal["signs", "normal"] = setting(
        "signs",
        "database codes before the first update: random signs, as the paper says, or normal numbers, as public "
        "programs do. Zeros would give the hash loss no gradient.",
    )
    zero: Literal["keep", "plus"] = setting(
        "keep", "a bit whose two values cost the same keeps its value, or becomes +1. Keeping never raises the loss."
    )


class ItqConfig(Section):
    iterations: int = setting(50, "rotations of the fit. The paper's value (Gong and Lazebnik 2011).", ge=1)


class SdhConfig(Section):
    anchors: int = setting(1000, "images that the kernel compares with. The paper's value (Shen et al. 2015).", ge=1)
    iterations: int = setting(5, "of the fit. The paper finds 3 to 5 enough.", ge=1)
    lam: float = setting(1.0, "lambda, of the classifier on the codes. The paper's value.", gt=0)
    nu: float = setting(1e-5, "nu, of the distance between codes and their prediction. The paper's value.", gt=0)
    width: float | None = setting(
        None,
        "g of the kernel exp(-g distance^2); none takes 1 / (2 median distance^2), since features differ in scale.",
        gt=0,
    )


class PairsConfig(Section):
    """Of the methods that train on the pairs of a batch."""

    per_class: int = setting(
        0,
        "images of a class that stay together in a batch; 0 leaves batches to chance. With 200 classes one pair in "
        "200 is then alike, as in the published figures; 4 or so makes these methods stronger.",
        ge=0,
    )


class DpshConfig(Section):
    eta: float = setting(0.1, "weight of the distance between outputs and their signs, for mean losses.", ge=0)


class DshConfig(Section):
    margin: float = setting(2.0, "times bits: squared distance beyond which unlike images are left alone.", gt=0)
    alpha: float = setting(0.01, "weight of the pull of outputs towards -1 and +1. The paper's value.", ge=0)


class HashnetConfig(Section):
    alpha: float = setting(10.0, "over bits: scale of the inner products. The authors' program's value.", gt=0)
    growth: float = setting(0.005, "of the scale of tanh: sqrt(1 + growth x step). The authors' program's value.", ge=0)
    every: int = setting(200, "steps between two settings of that scale. The authors' program's value.", ge=1)


class ExchnetConfig(Section):
    parts: int = setting(4, "attention maps, each of a local feature. The paper's value (Cui et al. 2020).", ge=1)
    spatial: float = setting(1.0, "weight of the attention maps' likeness. A public program's value.", ge=0)
    channel: float = setting(1.0, "weight of the local features' likeness. A public program's value.", ge=0)
    threshold: float = setting(
        0.4, "Hellinger distance of channels that is far enough. A public program's value.", ge=0
    )
    alignment: float = setting(
        0.0,
        "weight of the distance between local features and their class's anchor. Optional in the public program.",
        ge=0,
    )
    align_after: float = setting(
        0.5,
        "share of the iterations after which local features are exchanged with their class's anchors. A public program "
        "begins after 50 iterations, of which FCAENet's schedule has 40.",
        ge=0,
        le=1,
    )
    exchange: float = setting(0.5, "probability of an exchange. A public program's value.", ge=0, le=1)
