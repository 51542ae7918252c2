"""Typed, frozen configs of a run, one section an idea; a dotted path such as `srem.regions` names a field.

The defaults are the paper's where the paper says, and the choice of the public lineage it builds on where it does not.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from raysearch.errors import nearest

# By name, since this layer knows no torch; `models.backbones` builds them.
BACKBONES = ("small", "resnet18", "resnet50", "squeezenet1_1", "mobilenet_v2")


def _known_backbone(name: str) -> str:
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone{nearest(name, BACKBONES)}")
    return name


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Section):
    side: int = Field(224, ge=8)  # image side in pixels; images are resized to a square
    zoom: float = Field(1.0, ge=1, le=2)  # resize to zoom x side and keep the middle; 256/224 is another preset in use
    validation: float = Field(0.0, ge=0, lt=0.9)  # share of train held out; never part of the database
    augment: Literal["none", "flip", "crop"] = "flip"  # the paper says nothing; "crop" is random-resized crop and flip


class ModelConfig(Section):
    backbone: Annotated[str, AfterValidator(_known_backbone)] = "resnet50"
    weights: str | None = None  # a state-dict file or torchvision's name of weights, as IMAGENET1K_V1
    frozen: bool = False  # train the hash layer alone, on features computed once
    standardise: bool = False  # batch norm without affine before the hash layer; raw features can saturate tanh


class HashConfig(Section):
    bits: int = Field(24, ge=1, le=1024)
    method: Literal["adsh"] = "adsh"


class SremConfig(Section):
    regions: int = Field(50, ge=0)  # 0: none
    size: int = Field(32, ge=1, json_schema_extra={"pixels_of_side": 224})
    grid: int | None = Field(None, ge=1)  # rank on a coarser map; None: the image's pixels
    center: bool = False  # the paper's boxes hang below and right of the peak
    mask_pass: Literal["anchor", "separate"] = "anchor"  # "separate": a pass of its own, then all views in one forward


class EsrlConfig(Section):
    positive: float = Field(0.1, ge=0)  # kappa = alpha / c; the paper's values are not known, 0.1 is where to start
    erased: float = Field(0.1, ge=0)


class AdshConfig(Section):
    gamma: float = Field(200.0, ge=0)
    similarity: Literal["soft", "hard"] = "soft"  # "hard" is the printed -1, with which all codes collapse
    sweeps: int = Field(1, ge=1)
    bit_norm: bool = False  # multiply the hash loss by 12 / bits, so that one rate serves all code lengths
    views: Literal["anchor", "erased", "all"] = "anchor"  # which outputs the hash loss sees besides the anchors


class WarmupConfig(Section):
    """Training of the hash layer and codes on cached features of the untouched trunk, before the trunk is trained."""

    iterations: int = Field(0, ge=0)
    epochs: int = Field(5, ge=1)
    lr: float = Field(3e-3, gt=0)


class TrainConfig(Section):
    iterations: int = Field(40, ge=1)  # outer: resample, train, update the codes
    epochs: int = Field(20, ge=1)  # inner, over the sample
    samples: int = Field(2000, ge=2)  # r; more than the database means all of it
    batch: int = Field(64, ge=2)
    lr: float = Field(1e-3, gt=0)
    hash_lr: float = Field(1.0, gt=0)  # rate of the hash layer over the trunk's
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-5, ge=0)
    milestones: tuple[float, ...] = (0.5, 0.75)  # shares of the iterations after which the rate falls tenfold
    precision: Literal["auto", "float32"] = "auto"  # auto: autocast of the trunk on a GPU, float32 on a CPU


class RetrievalConfig(Section):
    task: Literal["retrieval"] = "retrieval"
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    hash: HashConfig = HashConfig()
    srem: SremConfig = SremConfig()
    esrl: EsrlConfig = EsrlConfig()
    adsh: AdshConfig = AdshConfig()
    warmup: WarmupConfig = WarmupConfig()
    train: TrainConfig = TrainConfig()

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

    @property
    def uses_positive(self) -> bool:
        """Whether a loss looks at positives."""
        return self.esrl.positive > 0 or self.adsh.views == "all"

    @property
    def uses_erased(self) -> bool:
        """Whether a loss looks at erased views."""
        return self.srem.regions > 0 and (self.esrl.erased > 0 or self.adsh.views != "anchor")

    def canonical(self) -> dict[str, Any]:
        """The config without what cannot matter, so that two ways of writing one run have one name."""
        plain = json.loads(self.model_dump_json())
        if not self.uses_erased:
            plain["srem"], plain["esrl"]["erased"] = {"regions": 0}, 0.0
            if self.adsh.views == "erased":
                plain["adsh"]["views"] = "anchor"
        if self.model.frozen:  # on cached features, without augmentation
            plain["data"]["augment"], plain["train"]["precision"] = "none", "float32"
        if self.warmup.iterations == 0 or self.model.frozen:
            plain["warmup"] = {"iterations": 0}
        return plain


CONFIGS: dict[str, type[RetrievalConfig]] = {"retrieval": RetrievalConfig}

# Raised by a developer when the numbers of a task change; part of every cell's name.
CODE_VERSIONS = {"retrieval": 2}
