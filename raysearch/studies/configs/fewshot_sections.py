"""Sections of the few-shot methods: HelixFormer (arXiv 2207.00784), LWFM-SPM (arXiv 2411.06363), and what they share.

Defaults are what the papers' figures and released configurations say; where those disagree, or say nothing, the field
says which was taken.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, field_validator

from raysearch.models.backbone_specs import BUILT_IN, known_backbone
from raysearch.studies.configs.base import Section, setting


class FewshotDataConfig(Section):
    side: int = setting(84, "image side in pixels; images are resized to a square. Both papers' 84.", ge=16)
    zoom: float = setting(
        92 / 84, "resize to zoom x side and keep the middle. Both papers resize to 92 and keep 84.", ge=1, le=2
    )
    split: str = setting(
        "auto",
        "which classes train, validate and test: a shipped split, a rule, or a csv of `class,split`. auto: the data "
        "set's own where its splits share no class, else every fourth class tests and the one before validates.",
    )
    augment: Literal["none", "flip", "crop", "colour"] = setting(
        "colour",
        "random views in training: mirrored (HelixFormer on CUB); a random-resized crop that may be mirrored "
        "(LWFM-SPM); or mirrored with brightness and contrast varied by a fifth, in either order (HelixFormer). Crops "
        "are of what the zoom keeps; the papers' are of the whole image.",
    )


class BackboneConfig(Section):
    backbone: Annotated[str, AfterValidator(known_backbone)] = setting(
        "conv4", "the trunk: " + ", ".join(BUILT_IN) + ". HelixFormer's are conv4 and resnet12, LWFM-SPM's resnet18."
    )
    weights: str | None = setting(
        None,
        "of the trunk: a state-dict file, torchvision's name of weights, or none for random ones. LWFM-SPM starts from "
        "IMAGENET1K_V1, which has met the novel classes of miniImageNet and tieredImageNet.",
    )


class EpisodesConfig(Section):
    ways: int = setting(5, "classes of an episode. Both papers' 5.", ge=2)
    shots: int = setting(
        1, "support images of a class, in training as in the test. The papers' tables have 1 and 5.", ge=1
    )
    queries: int = setting(15, "query images of a class. Both papers' 15.", ge=1)
    test: int = setting(
        2000, "episodes of the test classes that a model is judged by. Both papers' intervals fit 2,000.", ge=2
    )
    validation: int = setting(200, "episodes of the validation classes after each epoch, always the same ones.", ge=2)
    seed: int = setting(
        0, "of the validation and test episodes: the same for every variant and every run's seed.", ge=0
    )


class PretrainConfig(Section):
    """Training of the trunk as a classifier of the base classes, before any episode; a cell of its own."""

    epochs: int = setting(
        0, "of it; 0 leaves it out. HelixFormer's released recipe has 100, LWFM-SPM starts from ImageNet weights.", ge=0
    )
    augment: Literal["none", "flip", "crop"] = setting(
        "crop",
        "random views in it: mirrored, or a random-resized crop that may be mirrored. HelixFormer's released recipe "
        "crops, and on CUB only mirrors.",
    )
    batch: int = setting(128, "images a step. HelixFormer's.", ge=2)
    lr: float = setting(0.01, "of SGD. HelixFormer's.", gt=0)
    momentum: float = setting(0.9, "of SGD. HelixFormer's.", ge=0, lt=1)
    weight_decay: float = setting(0.0, "of all parameters. HelixFormer's.", ge=0)
    milestones: tuple[float, ...] = setting(
        (0.85,), "shares of the epochs after which the rate falls tenfold. HelixFormer's."
    )
    seed: int | None = setting(
        None,
        "of it; none: the run's own, so that intervals over seeds cover it. A number makes one pre-training serve "
        "every seed, which is cheaper and narrower.",
        ge=0,
    )


class HelixConfig(Section):
    depth: int = setting(
        1, "layers of cross-attention. The released configuration's; more were only in a supplement.", ge=0, le=16
    )
    design: Literal["q2s", "s2q", "s_then_q", "q_then_s", "sym"] = setting(
        "sym",
        "which side learns from which: the support from the query (q2s), the query from the support (s2q), one after "
        "the other (s_then_q, q_then_s), or both at once (sym), which is HelixFormer.",
    )
    heads: int = setting(2, "of each attention. The released configuration's.", ge=1, le=64)
    dim_head: int = setting(64, "channels of a head. The released configuration's.", ge=1)
    width: int | None = setting(
        None, "channels of all layers after the embedding; none: as many as the trunk's. 64 is a light ResNet-12.", ge=1
    )
    fusion: Literal["mul", "add", "mul_res"] = setting(
        "mul",
        "how attention meets the features: as a soft mask (mul, the figure and the final code), as a residual (add, "
        "an earlier draft), or as a mask beside the features (mul_res).",
    )
    rmp: bool = setting(True, "relation mining: cross-attention. Off: the layers only enhance each image alone.")
    rep: bool = setting(True, "representation enhancement: the feed-forward part after the fusion.")
    embed_kernel: int = setting(3, "side of the patch embedding's convolution. The released configuration's.", ge=1)
    kv_stride: int = setting(1, "of the keys' and values' projection; 2 makes attention four times cheaper.", ge=1)
    mlp_ratio: int = setting(4, "hidden channels of the feed-forward part over its own.", ge=1)
    dropout: float = setting(0.0, "after projections. The released configuration's.", ge=0, lt=1)

    @field_validator("embed_kernel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("takes an odd number, which keeps the map's size")
        return value


class HeadConfig(Section):
    kind: Literal["relation", "cosine"] = setting(
        "relation", "what scores a pair of maps: a small convolutional network (HelixFormer's), or their cosine."
    )


class CentroidConfig(Section):
    distance: Literal["euclidean", "cosine"] = setting(
        "euclidean", "between a query and the mean of a class: squared Euclidean (Prototypical Networks), or cosine."
    )


class LweConfig(Section):
    """Layer-wise embedding."""

    on: bool = setting(True, "weigh pixels by the attention between support and query. Off: all weigh alike.")
    layers: tuple[int, ...] = setting(
        (-2, -1),
        "taps of the trunk, counted from 0, shallow to deep, or back from -1, the last; ResNet-18 has 0 to 8. The "
        "released code's default: the last two; which ones the paper's tables use is not known.",
        min_length=1,
    )
    grid: int = setting(3, "side of the maps that taps are averaged to. The released code's.", ge=1, le=14)
    temperature: float = setting(5.0, "of the attention. The released code has 5, and 2 on CUB.", gt=0)


class SpmConfig(Section):
    """Semantic-pixel matching."""

    weight: float = setting(
        0.25,
        "of the matched similarity beside the global one; 0 leaves matching out. The released code has 0.25, 1 on CUB, "
        "and 0 on tieredImageNet with 5 shots.",
        ge=0,
    )
    matcher: Literal["hungarian", "nearest", "mutual", "sinkhorn"] = setting(
        "hungarian", "which query pixel belongs to which support pixel: the exact assignment is the paper's."
    )
    reduce: Literal["top1", "topk", "mean"] = setting(
        "top1",
        "how matched pixels become one number: the best pair in the released code; the text reads as the mean.",
    )
    topk: int = setting(3, "pairs of `topk`.", ge=1)
    layers: Literal["max", "mean"] = setting("max", "how layers become one number: the released code takes the best.")
    residual: bool = setting(
        True, "map pixels by a small residual network before they are compared, as the released code does."
    )
    sinkhorn_eps: float = setting(0.05, "of `sinkhorn`: smaller is closer to the exact assignment.", gt=0)
    sinkhorn_iterations: int = setting(50, "of `sinkhorn`.", ge=1)


class LwfmConfig(Section):
    tau: float = setting(0.2, "similarities are divided by it. The released code's.", gt=0)
    episode_weight: float = setting(
        0.25,
        "of the episode's loss beside the auxiliary ones. The released code: 0.25, 0.5 on CIFAR-FS, 1.5 on CUB.",
        gt=0,
    )
    aux: bool = setting(
        True,
        "two auxiliary losses of LWFM-SPM: queries, and an ordinary batch, named among all base classes. Without "
        "them the episode's loss has weight 1, as under HelixFormer's features, which no batch has alone.",
    )
    aux_batch: int = setting(64, "images of that batch. The released code's on CUB.", ge=2)


class EpisodicTrainConfig(Section):
    epochs: int = setting(130, "of episodic training. HelixFormer's for 1 shot; 150 for 5.", ge=0)
    episodes: int = setting(1000, "an epoch. HelixFormer's: 250 steps of 4.", ge=1)
    batch: int = setting(4, "episodes a step. HelixFormer's for 1 shot; 2 for 5. LWFM-SPM's is 1.", ge=1)
    optimiser: Literal["adam", "sgd"] = setting("adam", "HelixFormer's; LWFM-SPM takes SGD with Nesterov's momentum.")
    lr: float = setting(1e-3, "HelixFormer's; LWFM-SPM's is 0.01.", gt=0)
    momentum: float = setting(0.9, "of SGD, Nesterov's. LWFM-SPM's.", ge=0, lt=1)
    weight_decay: float = setting(0.0, "HelixFormer's; LWFM-SPM's is 5e-4.", ge=0)
    milestones: tuple[float, ...] = setting(
        (70 / 130, 110 / 130), "shares of the epochs after which the rate falls. HelixFormer's for 1 shot."
    )
    decay: float = setting(0.1, "what the rate falls by. HelixFormer's; LWFM-SPM's is 0.05.", gt=0, lt=1)
    clip: float | None = setting(None, "largest norm of the gradient; none: as it is. LWFM-SPM's is 2.", gt=0)
    precision: Literal["auto", "float32"] = setting(
        "auto",
        "auto: trunk and layers in bfloat16 on a GPU, in float32 on a CPU; scores and losses always in float32.",
    )
    select: Literal["last", "validation"] = setting(
        "validation", "which epoch is judged: the best on the validation classes, as in both papers, or the last."
    )
