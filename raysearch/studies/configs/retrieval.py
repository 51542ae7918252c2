"""The config of a retrieval run, one section an idea; a dotted path such as `srem.regions` names a field.

The defaults are FCAENet's where its paper (arXiv 2110.04479) says, and the choice of the public lineage it builds on
where it does not. Each description says what a field changes and why its default is what it is.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, model_validator

from raysearch.core.errors import UserError
from raysearch.models.backbone_specs import BUILT_IN, known_backbone
from raysearch.studies.configs import weights
from raysearch.studies.configs.base import Counts, Images, RunConfig, Section, section, setting
from raysearch.studies.configs.hashing import (
    AdshConfig,
    DpshConfig,
    DshConfig,
    EsrlConfig,
    ExchnetConfig,
    HashnetConfig,
    ItqConfig,
    PairsConfig,
    SdhConfig,
    SremConfig,
)
from raysearch.studies.configs.hashing_methods import HASHING_METHODS, HashingMethod, known_hashing_method


def _is_trained(config: Any) -> bool:
    return config.hashing_method.trained


def _uses(name: str) -> Callable[[Any], bool]:
    """Return whether a config's method uses the section of that name."""
    return lambda config: name in config.hashing_method.sections


class DataConfig(Section):
    side: int = setting(224, "image side in pixels; images are resized to a square. The paper's trunk takes 224.", ge=8)
    zoom: float = setting(
        1.0,
        "resize to zoom x side and keep the middle. 1 shows whole images; 256/224 is the other common recipe.",
        ge=1,
        le=2,
    )
    validation: float = setting(
        0.0,
        "share of train held out of training and database, evenly from each class. The paper holds out none; "
        "searches choose by it, since the test split may not choose. Sets with a validation split of their own "
        "(VegFru) lose nothing by it.",
        ge=0,
        lt=0.9,
    )
    augment: Literal["none", "flip", "crop"] = setting(
        "flip",
        "random views in training: none, mirrored, or a random-resized crop that may be mirrored. The paper "
        "says only that images are resized; a mirror is the least that fine-grained work uses.",
        used_if=_is_trained,
        canonical=lambda config: "none" if config.model.frozen else config.data.augment,  # frozen: on cached features
    )


class ModelConfig(Section):
    backbone: Annotated[str, AfterValidator(known_backbone)] = setting(
        "resnet50", "the trunk: " + ", ".join(BUILT_IN) + ". The paper's is ResNet-50."
    )
    weights: str | None = setting(
        None,
        "of the trunk: a state-dict file, torchvision's name of weights, or none for random ones. The paper's "
        "are IMAGENET1K_V1 (profile paper); V2 is another recipe and belongs into another table.",
    )
    frozen: bool = setting(
        False,
        "train the hash layer alone, on features computed once. The paper trains the backbone.",
        used_if=_is_trained,
    )
    standardise: bool = setting(
        False,
        "batch norm without affine before the hash layer. Not the paper's; features of some trunks are so large "
        "that tanh saturates at once and nothing is learned.",
        used_if=_is_trained,
    )


class HashConfig(Section):
    bits: int = setting(24, "length of a code. The paper compares 12, 24, 32 and 48.", ge=1, le=1024)
    method: Annotated[str, AfterValidator(known_hashing_method)] = setting(
        "adsh",
        "how codes come to be. lsh, sh, itq and sdh are fitted to the untrained trunk's features; dpsh, dsh and "
        "hashnet train on pairs and encode the database with the network; adsh and exchnet learn the database's codes "
        "as variables. adsh with SREM and ESRL is FCAENet, without them its baseline.",
    )


class WarmupConfig(Section):
    """Training of the hash layer and codes on cached features of the untouched trunk, before the trunk is trained."""

    iterations: int = setting(0, "outer iterations of it. The paper has none; on a laptop it is most of the way.", ge=0)
    epochs: int = setting(5, "inner epochs of each.", ge=1)
    lr: float = setting(3e-3, "rate of the hash layer in it.", gt=0)


class TrainConfig(Section):
    iterations: int = setting(
        40, "outer ones: draw a sample, train on it, update the codes. The paper's 40, and 60 from 25 bits on.", ge=1
    )
    epochs: int = setting(20, "inner ones, over the sample. The paper's.", ge=1)
    samples: int = setting(
        2000, "rows of the database in a sample; more than there are means all. The paper's; 4000 for large sets.", ge=2
    )
    batch: int = setting(64, "images a step, each with its positive and erased view. The paper's.", ge=2)
    lr: float = setting(1e-3, "rate of the trunk. The paper's.", gt=0)
    hash_lr: float = setting(1.0, "rate of the hash layer over the trunk's. The paper has one rate for both.", gt=0)
    momentum: float = setting(0.9, "of SGD. The paper's.", ge=0, lt=1)
    weight_decay: float = setting(1e-5, "of all parameters. The paper's.", ge=0)
    milestones: tuple[float, ...] = setting(
        (0.5, 0.75), "shares of the iterations after which the rate falls tenfold. The paper's: 20 and 30 of 40."
    )
    precision: Literal["auto", "float32"] = setting(
        "auto",
        "auto: the trunk in bfloat16 on a GPU, in float32 on a CPU; outputs, losses and codes in float32 always, "
        "since outputs are small (0.06 at 12 bits).",
        canonical=lambda config: "float32" if config.model.frozen else config.train.precision,
    )
    select: Literal["last", "validation"] = setting(
        "last",
        "which iteration is evaluated: the last, or the best on the held-out part. Some programs report the best "
        "on the test split; that is not offered.",
    )


class RetrievalConfig(RunConfig):
    task: Literal["retrieval"] = "retrieval"
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    hash: HashConfig = HashConfig()
    srem: SremConfig = section(
        SremConfig(), used_if=_uses("srem"), off_if=lambda config: not config.uses_erased, off={"regions": 0}
    )
    esrl: EsrlConfig = section(EsrlConfig(), used_if=_uses("esrl"))
    adsh: AdshConfig = section(AdshConfig(), used_if=_uses("adsh"))
    itq: ItqConfig = section(ItqConfig(), used_if=_uses("itq"))
    sdh: SdhConfig = section(SdhConfig(), used_if=_uses("sdh"))
    pairs: PairsConfig = section(PairsConfig(), used_if=lambda config: config.hashing_method.kind == "pairwise")
    dpsh: DpshConfig = section(DpshConfig(), used_if=_uses("dpsh"))
    dsh: DshConfig = section(DshConfig(), used_if=_uses("dsh"))
    hashnet: HashnetConfig = section(HashnetConfig(), used_if=_uses("hashnet"))
    exchnet: ExchnetConfig = section(ExchnetConfig(), used_if=_uses("exchnet"))
    warmup: WarmupConfig = section(
        WarmupConfig(),
        used_if=_is_trained,
        off_if=lambda config: config.warmup.iterations == 0 or config.model.frozen,
        off={"iterations": 0},
    )
    train: TrainConfig = section(TrainConfig(), used_if=_is_trained)

    @model_validator(mode="before")
    @classmethod
    def _longer_for_long_codes(cls, given: Any) -> Any:
        """The paper trains codes of 32 and 48 bits for 60 iterations and drops the rate three times."""
        try:
            bits = int(dict(given["hash"])["bits"])  # a section may be a mapping or a model, its value not yet checked
        except (KeyError, TypeError, ValueError):
            return given
        if bits <= 24:
            return given
        longer = {"iterations": 60, "milestones": (30 / 60, 45 / 60, 55 / 60)}
        return given | {"train": longer | dict(given.get("train", {}))}

    @model_validator(mode="after")
    def _regions_fit_the_image(self) -> Self:
        side, grid = self.data.side, self.srem.grid or self.data.side
        if self.srem.regions and self.srem.size > side:
            raise ValueError(f"srem.size={self.srem.size} erases more than the image, which is {side} px wide")
        if grid > side:
            raise ValueError(f"srem.grid={grid} is finer than the image, which is {side} px wide")
        if self.srem.regions > grid * grid:
            raise ValueError(f"srem.regions={self.srem.regions} are more than the {grid * grid} positions of the map")
        return self

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        if self.train.select == "validation" and not self.data.validation and _is_trained(self):
            raise ValueError("train.select=validation chooses by a held-out part; set data.validation above 0")
        if self.hashing_method.network is not None and self.model.frozen:
            raise ValueError(f"hash.method={self.hash.method} trains part of the backbone; leave model.frozen out")
        return self

    @property
    def images(self) -> Images:
        return Images(self.data.side, self.data.zoom, None)

    @property
    def backbone(self) -> tuple[str, str | None]:
        return self.model.backbone, self.model.weights

    @property
    def identities(self) -> dict[str, str | None]:
        identities = weights.backbone_identities(*self.backbone)
        source = self.hashing_method.source
        if source is not None:
            identities["hash.method"] = f"{self.hash.method} {weights.file_digest(source)}"
        return identities

    @property
    def hashing_method(self) -> HashingMethod:
        """The method that `hash.method` names."""
        return HASHING_METHODS[self.hash.method]

    @property
    def checkpoint_holds_backbone(self) -> bool:
        return self.hashing_method.trained

    @property
    def steps(self) -> int:
        return self.train.iterations

    @property
    def epochs(self) -> int:
        return self.train.iterations * self.train.epochs

    @property
    def holds_out(self) -> bool:
        return self.data.validation > 0

    def chance(self, counts: Counts) -> float:
        train, test = counts["train"], counts["test"]
        return sum(a * b for a, b in zip(train, test, strict=True)) / sum(train) / sum(test)

    def check(self, name: str, classes: Sequence[str], counts: Counts) -> None:
        train, test = counts.get("train", ()), counts.get("test", ())
        if not sum(train) or not sum(test):
            raise UserError(f"data set '{name}' has no {'test' if sum(train) else 'train'} images")
        for label, count in zip(classes, train, strict=True):
            if count == 1:
                raise UserError(f"class '{label}' of data set '{name}' has one training image; it needs at least two")
        if sum(count > 0 for count in train) < 2:
            raise UserError(f"data set '{name}' has one training class; retrieval needs at least two")

    @property
    def uses_positive(self) -> bool:
        """Whether a loss looks at positives."""
        return "esrl" in self.hashing_method.sections and (self.esrl.positive > 0 or self.adsh.views == "all")

    @property
    def uses_erased(self) -> bool:
        """Whether a loss looks at erased views."""
        looked_at = self.esrl.erased > 0 or self.adsh.views != "anchor"
        return "srem" in self.hashing_method.sections and self.srem.regions > 0 and looked_at
