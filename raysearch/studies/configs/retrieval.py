"""The config of a retrieval run, one section per idea; a dotted path such as `srem.regions` names a field.

A default is FCAENet's if its paper (arXiv 2110.04479) gives one, else the choice of the public programs that it builds
on. Each description gives the effect of a field and the reason for its default.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, model_validator

from raysearch.data.evaluation_limits import DataCounts, Limits, retrieval_limits
from raysearch.models.backbone_specs import BACKBONES, BUILT_IN
from raysearch.studies.configs import hashing, hashing_methods, weights
from raysearch.studies.configs.base import Counts, Images, RunConfig, Section, later_section, section, setting
from raysearch.studies.configs.paths import NameOrCode
from raysearch.studies.configs.user.metrics import USER_METRICS
from raysearch.studies.configs.weights import WeightsSource


def _is_trained(config: Any) -> bool:
    """Return whether the run trains a network."""
    return config.hashing_method.trained


def _uses(name: str) -> Callable[[Any], bool]:
    """Return a function that tells whether a config's method uses the section of that name."""
    return lambda config: name in config.hashing_method.sections


_LARGE_DATA_SETS = {555: "NABirds", 292: "VegFru"}  # by the number of their classes


class DataConfig(Section):
    """Images of a run."""

    side: int = setting(
        224, "image side in pixels; images are resized to a square. The paper's backbone takes 224.", ge=8, le=4096
    )
    zoom: float = setting(
        1.0,
        "resize to zoom x side and keep the center. 1 shows whole images; 256/224 is the other common recipe.",
        ge=1,
        le=2,
    )
    validation: float = setting(
        0.0,
        "share of train held out of training and database, evenly from each class. The paper holds out none. Searches "
        "choose by it, since the test split must not choose. Data sets with a validation split of their own (VegFru) "
        "lose nothing by it.",
        ge=0,
        lt=0.9,
    )
    augment: Literal["none", "flip", "crop"] = setting(
        "flip",
        "random views in training: none, mirrored, or a random-resized crop that may be mirrored. The paper mentions "
        "only that images are resized; mirroring is the least that fine-grained work uses.",
        used_if=_is_trained,
        canonical=lambda config: "none" if config.model.frozen else config.data.augment,  # frozen: on cached features
    )


class ModelConfig(Section):
    """The network before its hash layer."""

    backbone: Annotated[str, AfterValidator(BACKBONES.check_name), NameOrCode(BACKBONES)] = setting(
        "resnet50", "the backbone: " + ", ".join(BUILT_IN) + ". The paper's is ResNet-50."
    )
    weights: WeightsSource | None = setting(
        None,
        "weights of the backbone: a state-dict file, torchvision's name of weights, or none for random ones. The "
        "paper's are IMAGENET1K_V1 (profile paper). V2 is another recipe, and its results belong in another table.",
    )
    frozen: bool = setting(
        False,
        "train the hash layer alone, on features computed once. The paper trains the backbone.",
        used_if=_is_trained,
    )
    standardise: bool = setting(
        False,
        "batch norm without affine before the hash layer. Not in the paper. Features of some backbones are so large "
        "that tanh saturates at once and nothing is learned.",
        used_if=_is_trained,
    )


class HashConfig(Section):
    """Codes, and the method that learns them."""

    bits: int = setting(24, "length of a code. The paper compares 12, 24, 32 and 48.", ge=1, le=1024)
    method: Annotated[
        str, AfterValidator(hashing_methods.HASHING_METHODS.check_name), NameOrCode(hashing_methods.HASHING_METHODS)
    ] = setting(
        "adsh",
        "the hashing method. lsh, sh, itq and sdh are fitted to the features of the untrained backbone. dpsh, dsh and "
        "hashnet train on pairs and encode the database with the network. adsh and exchnet learn the database's codes "
        "as variables. adsh with SREM and ESRL is FCAENet, without them its baseline.",
    )


class WarmupConfig(Section):
    """Training of the hash layer and the codes on cached features, before the backbone is trained."""

    iterations: int = setting(
        0, "outer iterations of the warm-up. The paper has none; on a laptop it does most of the work.", ge=0
    )
    epochs: int = setting(5, "inner epochs of each warm-up iteration.", ge=1)
    lr: float = setting(3e-3, "learning rate of the hash layer in the warm-up.", gt=0)
    views: Literal["anchor", "all"] = setting(
        "anchor",
        "what the warm-up's losses see. anchor: images alone, so that it is the same for every variant of SREM and "
        "ESRL. all: the views that training sees as well; erased ones come from the untouched backbone.",
        used_if=lambda config: config.warmup.views != "anchor",  # later than its cells
    )
    recalibrate: bool = setting(
        False,
        "give the backbone's batch norm the statistics of the database before the warm-up. Without it they change in "
        "the first epochs of training, which undoes part of the warm-up where images differ from the weights' own.",
        used_if=lambda config: config.warmup.recalibrate,  # later than its cells
    )


class TrainConfig(Section):
    """Training of the network."""

    iterations: int = setting(
        40,
        "outer iterations: draw a sample, train on it, update the codes. The paper's 40, and 60 from 25 bits on.",
        ge=1,
    )
    epochs: int = setting(20, "inner epochs over the sample. The paper's value.", ge=1)
    samples: int = setting(
        2000,
        "rows of the database in a sample; a larger number than the database has means all. The paper's value; 4000 "
        "on NABirds and VegFru, which the paper profile has there.",
        ge=2,
    )
    batch: int = setting(64, "images per step, each with its positive and erased view. The paper's value.", ge=2)
    lr: float = setting(1e-3, "learning rate of the backbone. The paper's value.", gt=0)
    hash_lr: float = setting(
        1.0, "learning rate of the hash layer / that of the backbone. The paper has one rate for both.", gt=0
    )
    momentum: float = setting(0.9, "momentum of SGD. The paper's value.", ge=0, lt=1)
    weight_decay: float = setting(1e-5, "weight decay of all parameters. The paper's value.", ge=0)
    milestones: tuple[float, ...] = setting(
        (0.5, 0.75), "shares of the iterations after which the rate falls tenfold. The paper's: 20 and 30 of 40."
    )
    precision: Literal["auto", "float32"] = setting(
        "auto",
        "auto: the backbone in bfloat16 on a GPU, in float32 on a CPU. Outputs, losses and codes are always in "
        "float32, since outputs are small (0.06 at 12 bits).",
        canonical=lambda config: "float32" if config.model.frozen else config.train.precision,
    )
    select: Literal["last", "validation"] = setting(
        "last",
        "which iteration is evaluated: the last, or the best on the held-out part. Some programs report the best on "
        "the test split; raysearch does not offer that.",
    )


class EvaluationConfig(Section):
    """Metrics of a user, beside the built-in ones."""

    metrics: tuple[Annotated[str, AfterValidator(USER_METRICS.check_name), NameOrCode(USER_METRICS)], ...] = setting(
        (),
        "further metrics, each a function of a file of yours, such as my_metric.py:ndcg. It takes query codes, query "
        "labels, database codes and database labels, and returns a number.",
    )


class RetrievalConfig(RunConfig):
    """The config of a retrieval run; see the module."""

    task: Literal["retrieval"] = "retrieval"
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    hash: HashConfig = HashConfig()
    srem: hashing.SremConfig = section(
        hashing.SremConfig(), used_if=_uses("srem"), off_if=lambda config: not config.uses_erased, off={"regions": 0}
    )
    esrl: hashing.EsrlConfig = section(hashing.EsrlConfig(), used_if=_uses("esrl"))
    adsh: hashing.AdshConfig = section(hashing.AdshConfig(), used_if=_uses("adsh"))
    itq: hashing.ItqConfig = section(hashing.ItqConfig(), used_if=_uses("itq"))
    sdh: hashing.SdhConfig = section(hashing.SdhConfig(), used_if=_uses("sdh"))
    pairs: hashing.PairsConfig = section(
        hashing.PairsConfig(), used_if=lambda config: config.hashing_method.kind == "pairwise"
    )
    dpsh: hashing.DpshConfig = section(hashing.DpshConfig(), used_if=_uses("dpsh"))
    dsh: hashing.DshConfig = section(hashing.DshConfig(), used_if=_uses("dsh"))
    hashnet: hashing.HashnetConfig = section(hashing.HashnetConfig(), used_if=_uses("hashnet"))
    exchnet: hashing.ExchnetConfig = section(hashing.ExchnetConfig(), used_if=_uses("exchnet"))
    warmup: WarmupConfig = section(
        WarmupConfig(),
        used_if=_is_trained,
        off_if=lambda config: config.warmup.iterations == 0 or config.model.frozen,
        off={"iterations": 0},
    )
    train: TrainConfig = section(TrainConfig(), used_if=_is_trained)
    evaluation: EvaluationConfig = later_section(
        EvaluationConfig(), used_if=lambda config: bool(config.evaluation.metrics)
    )

    @model_validator(mode="before")
    @classmethod
    def _longer_for_long_codes(cls, given: Any) -> Any:
        """Set the paper's training of codes of 32 and 48 bits: 60 iterations, and three milestones."""
        try:
            bits = int(dict(given["hash"])["bits"])  # a section is a mapping or a model; nothing is validated yet
        except (KeyError, TypeError, ValueError):
            return given
        if bits <= 24:
            return given
        longer = {"iterations": 60, "milestones": (30 / 60, 45 / 60, 55 / 60)}
        return given | {"train": longer | dict(given.get("train", {}))}

    @model_validator(mode="after")
    def _regions_fit_the_image(self) -> Self:
        if not _uses("srem")(self):  # the canonical form has no such section, and its defaults are for larger images
            return self
        side = self.data.side
        grid = self.srem.grid or side
        if self.srem.regions and self.srem.size > side:
            raise ValueError(f"srem.size={self.srem.size} erases more than the image, which is {side} px wide")
        if grid > side:
            raise ValueError(f"srem.grid={grid} is finer than the image, which is {side} px wide")
        if self.srem.regions > grid * grid:
            raise ValueError(
                f"srem.regions={self.srem.regions} are more than the {grid * grid} positions of the map; use "
                f"--set srem.regions={grid * grid} or fewer, or a finer srem.grid"
            )
        return self

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        if self.train.select == "validation" and not self.data.validation and _is_trained(self):
            raise ValueError(
                "train.select=validation chooses by a held-out part; set data.validation above 0, such as 0.1"
            )
        if self.hashing_method.network is not None and self.model.frozen:
            raise ValueError(f"hash.method={self.hash.method} trains part of the backbone; leave model.frozen out")
        return self

    @property
    def images(self) -> Images:
        """The images that the run works on."""
        return Images(self.data.side, self.data.zoom, None)

    @property
    def backbone(self) -> tuple[str, str | None]:
        """Name of the backbone, and the weights that it starts from."""
        return self.model.backbone, self.model.weights

    @property
    def identities(self) -> dict[str, str | None]:
        """Digests of files of weights, and of the source of a backbone or a method from an extension."""
        identities = weights.backbone_identities(*self.backbone)
        method = self.hashing_method
        if method.source is not None:
            identities["hash.method"] = f"{self.hash.method} {weights.file_digest(method.source)}"
        if method.code is not None:
            identities["hash.method"] = f"{self.hash.method} {method.code.identity}"
        if self.evaluation.metrics:
            codes = (f"{name} {USER_METRICS[name].code.identity}" for name in self.evaluation.metrics)
            identities["evaluation.metrics"] = ", ".join(codes)
        return identities

    @property
    def hashing_method(self) -> hashing_methods.HashingMethod:
        """The method that `hash.method` names."""
        return hashing_methods.HASHING_METHODS[self.hash.method]

    @property
    def checkpoint_holds_backbone(self) -> bool:
        """Whether checkpoints hold the backbone; those of fitted methods do not, since it is untrained."""
        return self.hashing_method.trained

    @property
    def steps(self) -> int:
        """Number of outer iterations, each of which a scheduler may stop after."""
        return self.train.iterations

    @property
    def epochs(self) -> int:
        """Number of inner epochs in all outer iterations."""
        return self.train.iterations * self.train.epochs

    @property
    def holds_out(self) -> bool:
        """Whether `data.validation` holds out part of train."""
        return self.data.validation > 0

    def chance(self, counts: Counts) -> float:
        """Return the mean average precision of random codes: the share of pairs with one class."""
        train = counts["train"]
        test = counts["test"]
        return sum(a * b for a, b in zip(train, test, strict=True)) / sum(train) / sum(test)

    def limits(self, name: str, classes: Sequence[str], counts: Counts) -> Limits:
        """Return the limits of a retrieval: two train classes with two images each, and queries that find theirs."""
        limits = retrieval_limits(DataCounts(name, classes, counts), self.data.validation)
        default = TrainConfig.model_fields["samples"].default
        if len(classes) in _LARGE_DATA_SETS and _is_trained(self) and self.train.samples == default:
            data_set = _LARGE_DATA_SETS[len(classes)]
            text = f"the paper draws 4,000 images per iteration on {data_set}, and this run {default:,}; "
            limits = limits._replace(warnings=(*limits.warnings, text + "add --set train.samples=4000"))
        return limits

    @property
    def uses_positive(self) -> bool:
        """Whether a loss uses positives."""
        return "esrl" in self.hashing_method.sections and (self.esrl.positive > 0 or self.adsh.views == "all")

    @property
    def uses_erased(self) -> bool:
        """Whether a loss uses erased views."""
        has_loss = self.esrl.erased > 0 or self.adsh.views != "anchor"
        return "srem" in self.hashing_method.sections and self.srem.regions > 0 and has_loss
