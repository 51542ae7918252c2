"""Sections of the few-shot methods: HelixFormer (arXiv 2207.00784), LWFM-SPM (arXiv 2411.06363), and what they share.

Defaults come from the papers' figures and released configurations. Where those disagree or do not state a value, the
field's description names the source of its default.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, field_validator

from raysearch.data import class_splits
from raysearch.models.backbone_specs import BACKBONES, BUILT_IN
from raysearch.studies.configs.base import Section, setting
from raysearch.studies.configs.paths import NameOrCode, NameOrPath
from raysearch.studies.configs.weights import WeightsSource

SplitSource = Annotated[str, NameOrPath(class_splits.is_named)]  # the name of a class-disjoint split, or its file


def _has_layers(config: Any) -> bool:
    """Whether HelixFormer attends or enhances; without, its network has only the embedding."""
    return config.helix.depth > 0 and (config.helix.rmp or config.helix.rep)


def _attends(config: Any) -> bool:
    return _has_layers(config) and config.helix.rmp


def _trains_auxiliary(config: Any) -> bool:
    return config.train.epochs and config.auxiliary


class FewshotDataConfig(Section):
    side: int = setting(84, "image side in pixels; images are resized to a square. Both papers' 84.", ge=16, le=4096)
    zoom: float = setting(
        92 / 84,
        "resize to zoom x side and keep the middle. Both papers resize to 92 and keep 84.",
        ge=1,
        le=2,
    )
    split: SplitSource = setting(
        "auto",
        "which classes train, validate and test: a shipped split, a rule, or a csv of `class,split`. auto: the data "
        "set's own parts where they share no class (a fifth of the train classes validates where no part does), else "
        "every fourth class tests and the one before validates.",
    )
    augment: Literal["none", "flip", "crop", "colour"] = setting(
        "colour",
        "random views in training. flip: mirrored (HelixFormer on CUB); crop: a random-resized crop that may be "
        "mirrored (LWFM-SPM); colour: mirrored, with brightness and contrast varied by a fifth in either order "
        "(HelixFormer). Crops are of the part that the zoom keeps; the papers' are of the whole image.",
        used_if=lambda config: config.augments_episodes,
    )


class BackboneConfig(Section):
    backbone: Annotated[str, AfterValidator(BACKBONES.check_name), NameOrCode(BACKBONES)] = setting(
        "conv4", "one of " + ", ".join(BUILT_IN) + ". HelixFormer's are conv4 and resnet12, LWFM-SPM's resnet18."
    )
    weights: WeightsSource | None = setting(
        None,
        "of the backbone: a state-dict file, the name of published weights, or none for random ones. LWFM-SPM starts "
        "from IMAGENET1K_V1, which was trained on the novel classes of miniImageNet and tieredImageNet.",
    )


class EpisodesConfig(Section):
    ways: int = setting(5, "classes per episode. Both papers' 5.", ge=2)
    shots: int = setting(
        1, "support images per class, in training and in the test. The papers' tables have 1 and 5.", ge=1
    )
    queries: int = setting(15, "query images per class. Both papers' 15.", ge=1)
    test: int = setting(
        2000, "episodes of the test classes that evaluate a model. Both papers' intervals fit 2,000.", ge=2
    )
    validation: int = setting(200, "episodes of the validation classes after each epoch, always the same ones.", ge=2)
    seed: int = setting(
        0, "of the validation and test episodes: the same for every variant and every run's seed.", ge=0
    )


class PretrainConfig(Section):
    """Training of the backbone as a classifier of the base classes, before any episode; a cell of its own."""

    epochs: int = setting(
        0,
        "of pre-training; 0 leaves it out. HelixFormer's released recipe has 100, LWFM-SPM starts from ImageNet "
        "weights.",
        ge=0,
    )
    augment: Literal["none", "flip", "crop"] = setting(
        "crop",
        "random views in pre-training. flip: mirrored; crop: a random-resized crop that may be mirrored. HelixFormer's "
        "released recipe crops, and on CUB only mirrors.",
    )
    batch: int = setting(128, "images per step. HelixFormer's.", ge=2)
    lr: float = setting(0.01, "of SGD. HelixFormer's.", gt=0)
    momentum: float = setting(0.9, "of SGD. HelixFormer's.", ge=0, lt=1)
    weight_decay: float = setting(0.0, "of all parameters. HelixFormer's.", ge=0)
    milestones: tuple[float, ...] = setting(
        (0.85,), "shares of the epochs after which the rate falls tenfold. HelixFormer's."
    )
    seed: int | None = setting(
        None,
        "of the pre-training; none: the run's own, so that intervals over seeds cover it. A number makes one "
        "pre-training serve every seed, which is cheaper and gives narrower intervals.",
        used_if=lambda config: config.task != "pretrain",  # there it is the cell's own
        ge=0,
    )


class HelixConfig(Section):
    depth: int = setting(
        1,
        "layers of cross-attention. The released configuration's; more appear only in a supplement.",
        canonical=lambda config: config.helix.depth if _has_layers(config) else 0,
        ge=0,
        le=16,
    )
    design: Literal["q2s", "s2q", "s_then_q", "q_then_s", "sym"] = setting(
        "sym",
        "which side learns from which: the support from the query (q2s), the query from the support (s2q), one after "
        "the other (s_then_q, q_then_s), or both at once (sym), which is HelixFormer.",
        used_if=_has_layers,
    )
    order: Literal["layers", "directions"] = setting(
        "layers",
        "of s_then_q and q_then_s with several layers: layer after layer, or all layers of the first direction before "
        "those of the second (directions), as the released program does.",
        used_if=lambda config: (  # later than the cells of the other order
            config.helix.order == "directions"
            and _attends(config)
            and config.helix.depth > 1
            and config.helix.design in ("s_then_q", "q_then_s")
        ),
    )
    pairs: Literal["each", "joined"] = setting(
        "each",
        "maps that are compared with several shots: each support with the query, as the paper describes it, or those "
        "that the released program joins along the shots, most of which are not a support with a query (joined).",
        used_if=lambda config: (  # later than the cells that compare each support
            config.helix.pairs == "joined" and config.model.method == "helixformer" and config.episodes.shots > 1
        ),
    )
    heads: int = setting(2, "of each attention. The released configuration's.", used_if=_attends, ge=1, le=64)
    dim_head: int = setting(64, "channels per head. The released configuration's.", used_if=_attends, ge=1)
    width: int | None = setting(
        None,
        "channels of all layers after the embedding; none: as many as the backbone's. 64 is a light ResNet-12.",
        ge=1,
    )
    fusion: Literal["mul", "add", "mul_res"] = setting(
        "mul",
        "how attention changes the features: as a soft mask (mul, the figure and the final code), as a residual (add, "
        "an earlier draft), or as a mask beside the features (mul_res).",
        used_if=_attends,
    )
    rmp: bool = setting(
        True,
        "relation mining: cross-attention. Off: the layers only enhance each image by itself.",
        used_if=_has_layers,
    )
    rep: bool = setting(
        True, "representation enhancement: the feed-forward part after the fusion.", used_if=_has_layers
    )
    embed_kernel: int = setting(3, "side of the patch embedding's convolution. The released configuration's.", ge=1)
    kv_stride: int = setting(
        1, "of the keys' and values' projection; 2 makes attention four times cheaper.", used_if=_attends, ge=1
    )
    mlp_ratio: int = setting(
        4,
        "hidden channels of the feed-forward part over its own.",
        used_if=lambda config: _has_layers(config) and config.helix.rep,
        ge=1,
    )
    dropout: float = setting(
        0.0,
        "after projections. The released configuration's.",
        used_if=lambda config: _has_layers(config) and config.train.epochs,
        ge=0,
        lt=1,
    )

    @field_validator("embed_kernel")
    @classmethod
    def _check_odd(cls, value: int) -> int:
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

    on: bool = setting(True, "weight pixels by the attention between support and query. Off: all weights are equal.")
    layers: tuple[int, ...] = setting(
        (-2, -1),
        "taps of the backbone, counted from 0, shallow to deep, or back from -1, the last; ResNet-18 has 0 to 8. The "
        "released code's default: the last two. It is not known which ones the paper's tables use.",
        used_if=lambda config: config.fewshot_method.layerwise,
        canonical=lambda config: config.compared_taps,
        min_length=1,
    )
    grid: int = setting(3, "side of the maps that taps are averaged to. The released code's.", ge=1, le=14)
    temperature: float = setting(
        5.0,
        "of the attention. The released code has 5, and 2 on CUB.",
        used_if=lambda config: config.lwe.on,
        gt=0,
    )


class SpmConfig(Section):
    """Semantic-pixel matching."""

    weight: float = setting(
        0.25,
        "of the matched similarity beside the global one; 0 leaves matching out. The released code has 0.25, 1 on CUB "
        "and CIFAR-FS, and 0 on tieredImageNet with 5 shots.",
        ge=0,
    )
    matcher: Literal["hungarian", "nearest", "mutual", "sinkhorn"] = setting(
        "hungarian", "which query pixel belongs to which support pixel: the exact assignment is the paper's."
    )
    reduce: Literal["top1", "topk", "mean"] = setting(
        "top1",
        "how matched pixels become one number: the best pair in the released code; the text reads as the mean.",
    )
    topk: int = setting(3, "pairs of `topk`.", used_if=lambda config: config.spm.reduce == "topk", ge=1)
    layers: Literal["max", "mean"] = setting("max", "how layers become one number: the released code takes the best.")
    residual: bool = setting(
        True, "map pixels by a small residual network before they are compared, as the released code does."
    )
    sinkhorn_eps: float = setting(
        0.05,
        "of `sinkhorn`: smaller is closer to the exact assignment.",
        used_if=lambda config: config.spm.matcher == "sinkhorn",
        gt=0,
    )
    sinkhorn_iterations: int = setting(
        50, "of `sinkhorn`.", used_if=lambda config: config.spm.matcher == "sinkhorn", ge=1
    )


class LwfmConfig(Section):
    tau: float = setting(0.2, "divides similarities. The released code's.", gt=0)
    episode_weight: float = setting(
        0.25,
        "of the episode's loss beside the auxiliary ones. The released code: 0.25, 0.5 on CIFAR-FS, 1.5 on CUB.",
        used_if=_trains_auxiliary,
        gt=0,
    )
    aux: bool = setting(
        True,
        "add LWFM-SPM's two auxiliary losses: queries and an ordinary batch, classified among all base classes. "
        "Without them the episode's loss has weight 1, as it always has with helix_lwfm, whose features belong to "
        "pairs.",
        used_if=lambda config: config.train.epochs and config.fewshot_method.layerwise,
    )
    aux_batch: int = setting(64, "images of that batch. The released code's on CUB.", used_if=_trains_auxiliary, ge=2)
    normalization: Literal["imagenet", "released"] = setting(
        "imagenet",
        "mean and deviation that images are normalized by: ImageNet's, or those of the released program.",
        used_if=lambda config: config.lwfm.normalization == "released",  # later than the cells of the other
    )


class EpisodicTrainConfig(Section):
    epochs: int = setting(130, "of episodic training. HelixFormer's for 1 shot; 150 for 5.", ge=0)
    episodes: int = setting(1000, "per epoch. HelixFormer's: 250 steps of 4.", ge=1)
    batch: int = setting(4, "episodes per step. HelixFormer's for 1 shot; 2 for 5. LWFM-SPM's is 1.", ge=1)
    optimiser: Literal["adam", "sgd"] = setting("adam", "HelixFormer's; LWFM-SPM takes SGD with Nesterov's momentum.")
    lr: float = setting(1e-3, "HelixFormer's; LWFM-SPM's is 0.01.", gt=0)
    momentum: float = setting(
        0.9, "of SGD, Nesterov's. LWFM-SPM's.", used_if=lambda config: config.train.optimiser == "sgd", ge=0, lt=1
    )
    weight_decay: float = setting(0.0, "HelixFormer's; LWFM-SPM's is 5e-4.", ge=0)
    milestones: tuple[float, ...] = setting(
        (70 / 130, 110 / 130), "shares of the epochs after which the rate falls. HelixFormer's for 1 shot."
    )
    decay: float = setting(0.1, "factor of the rate at each milestone. HelixFormer's; LWFM-SPM's is 0.05.", gt=0, lt=1)
    clip: float | None = setting(
        None, "largest norm of the gradient; none: gradients are not clipped. LWFM-SPM's is 2.", gt=0
    )
    precision: Literal["auto", "float32"] = setting(
        "auto",
        "auto: backbone and layers in bfloat16 on a GPU, in float32 on a CPU; scores and losses always in float32.",
    )
    select: Literal["last", "validation"] = setting(
        "validation",
        "which epoch is evaluated: the best on the validation classes, as in both papers, or the last.",
    )
