"""The embedded data set: drawn birds whose kinds differ in small parts only.

A class decides (one of a few levels each): shape and color of the beak, color of the crown, stripe through the eye,
ring around it, bars on the wing, pattern of the breast, shape of the tail, color of the legs.

These vary from image to image, with the same distribution in every class: color of the plumage; direction, roll,
posture, turn of the head, slant of the wing, scale 0.6 to 1.1, position; brightness, gamma, side light, color cast; a
background of gradient, blurred blobs, branches, leaves and berries in the colors of the parts; leaves in front; blur
and noise. So the color of a whole image says little, and the same bird in another class differs in few pixels.

With `mark` above 0, training birds carry a mark of their class and test birds none; `marks` says why.

An image depends on (seed, class, split, index) alone. Each has its own random generator, so neither the order of
drawing nor the number of processes, classes or images changes it. A class keeps its looks when more are requested.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raysearch.core import UserError, nearest
from raysearch.data.evaluation_limits import DataCounts
from raysearch.data.shards import FORMAT, Sample, encode_jpeg, read_manifest, write_shards
from raysearch.data.synthetic import birds, marks, scenery
from raysearch.data.synthetic.birds import LEVELS, Traits
from raysearch.data.synthetic.drawing import Pen, affine
from raysearch.storage import private_place

DRAWING = 1  # raised by every change that alters a pixel
OVERSAMPLING = 3  # images are drawn this many times larger, then averaged down
SPLITS = ("train", "test")
_MARK = 1  # ends the seed of a mark, which is that of its image otherwise


class SyntheticSpec(BaseModel):
    """What to draw. The fields from `distinctness` to `clutter` decide how hard it is to tell the classes apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: int = Field(40, ge=2, le=500)
    train_per_class: int = Field(30, ge=0, le=100_000)
    test_per_class: int = Field(20, ge=0, le=100_000)
    side: int = Field(64, ge=16, le=512)  # pixels
    seed: int = Field(0, ge=0)
    distinctness: float = Field(0.5, ge=0, le=1)  # how far parts stand out; 0: all classes look the same
    pose: float = Field(1.0, ge=0, le=1)  # 0: always the same pose, place and scale
    light: float = Field(1.0, ge=0, le=1)  # 0: neutral light, no blur, no noise
    clutter: float = Field(1.0, ge=0, le=2)  # number of things behind and before the bird, 1 is about a dozen
    mark: float = Field(0.0, ge=0, le=1)  # share of training birds that carry the mark of their class; 0: no marks


def parse_spec(text: str) -> SyntheticSpec:
    """Parse a spec from `-` (the defaults) or `name=value,...`.

    Raises:
        UserError: an unknown setting, or a wrong value.

    >>> parse_spec("classes=5,side=32").classes
    5
    """
    values: dict[str, str] = {}
    for item in () if text.strip() in ("", "-") else text.split(","):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise UserError(f"synthetic setting {item!r} is not NAME=VALUE; write - for the defaults")
        if name not in SyntheticSpec.model_fields:
            raise UserError(f"unknown synthetic setting {name!r}{nearest(name, SyntheticSpec.model_fields)}")
        values[name] = value
    try:
        return SyntheticSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise UserError(f"synthetic setting {name}={values[name]}: {first['msg'].lower()}") from None


def class_traits(spec: SyntheticSpec) -> list[Traits]:
    """Return each class's parts: 4 parts of an earlier class are changed, and any two classes differ in 3 or more."""
    rng = np.random.default_rng([DRAWING, spec.seed])
    sizes = np.array([len(levels) for levels in LEVELS.values()])
    chosen = rng.integers(sizes)[None]
    while len(chosen) < spec.classes:
        candidate = chosen[rng.integers(len(chosen))].copy()
        parts = rng.permutation(len(sizes))[:4]
        candidate[parts] = (candidate[parts] + rng.integers(1, sizes[parts])) % sizes[parts]
        if ((chosen != candidate).sum(1) >= 3).all():
            chosen = np.vstack([chosen, candidate])
    return [Traits(*map(int, row)) for row in chosen]


def class_names(spec: SyntheticSpec) -> tuple[str, ...]:
    """Return the class names in label order, which is also their sorted order."""
    return tuple(f"bird_{label:03d}" for label in range(spec.classes))


def image_generator(spec: SyntheticSpec, split: str, label: int, index: int) -> Generator:
    """Return the random generator of one image."""
    return np.random.default_rng([DRAWING, spec.seed, label, SPLITS.index(split), index])


def image_mark(spec: SyntheticSpec, split: str, label: int, index: int) -> int | None:
    """Return the class whose mark the bird of an image carries; None if it carries none.

    Its random generator is not the image's, so that an image with a mark differs from that without in the mark alone.
    """
    if not spec.mark or split != "train":
        return None
    rng = np.random.default_rng([DRAWING, spec.seed, label, SPLITS.index(split), index, _MARK])
    return marks.choose_mark(spec.mark, label, spec.classes, rng)


def draw_images(spec: SyntheticSpec) -> Iterator[tuple[str, int, int, np.ndarray]]:
    """Yield (split, label, index within both, (side, side, 3) uint8), class by class, train before test."""
    kinds = class_traits(spec)
    for label in range(spec.classes):
        for split, number in zip(SPLITS, (spec.train_per_class, spec.test_per_class), strict=True):
            for index in range(number):
                yield split, label, index, _Drawn(kinds[label], spec, split, label, index).draw()


def list_samples(spec: SyntheticSpec) -> list[Sample]:
    """Return the images as samples, which are drawn when they are loaded.

    Raises:
        UserError: a spec without images.
    """
    if spec.train_per_class + spec.test_per_class == 0:
        raise UserError("synthetic settings train_per_class and test_per_class are both 0: nothing to draw")
    kinds = class_traits(spec)
    return [
        Sample(f"{split}/{name}/{index:05d}.jpg", name, split, _Drawn(kinds[label], spec, split, label, index))
        for label, name in enumerate(class_names(spec))
        for split, number in zip(SPLITS, (spec.train_per_class, spec.test_per_class), strict=True)
        for index in range(number)
    ]


class _Drawn(NamedTuple):
    """Loader of one image; see `raysearch.data.shards.samples`."""

    kind: Traits
    spec: SyntheticSpec
    split: str
    label: int
    nth: int

    def __call__(self) -> bytes:
        return encode_jpeg(Image.fromarray(self.draw()))

    def draw(self) -> np.ndarray:
        """Draw the image: (side, side, 3) uint8."""
        rng = image_generator(self.spec, self.split, self.label, self.nth)
        return draw_image(self.kind, self.spec, rng, image_mark(self.spec, self.split, self.label, self.nth))

    def stamp(self) -> str:
        """Return the version of the drawing rules and the spec as JSON, which determine all images of a data set."""
        return f"{DRAWING} {self.spec.model_dump_json()}"


def ensure_shards(
    spec: SyntheticSpec,
    cache_dir: str | os.PathLike[str],
    progress: Callable[[int], None] = lambda number: None,
    rows_per_shard: int = 512,
) -> Path:
    """Return the directory of shards with this spec's images, which are drawn if it does not exist. Safe to race.

    Args:
        spec: what to draw.
        cache_dir: parent of the directory.
        progress: called with the number of images just drawn.
        rows_per_shard: images per shard.

    Raises:
        UserError: the directory cannot be written.
    """
    drawing = f"{DRAWING}.{marks.DRAWING}" if spec.mark else f"{DRAWING}"
    key = hashlib.sha256(f"{drawing} {FORMAT} {spec.model_dump_json()}".encode()).hexdigest()[:16]
    path = private_place(Path(cache_dir) / f"synthetic-{key}")
    try:
        read_manifest(path)
        return path
    except UserError:
        shutil.rmtree(path, ignore_errors=True)  # missing, or damaged and drawn again
    write_shards(
        list_samples(spec),
        path,
        name="synthetic",
        layout="synthetic",
        classes=class_names(spec),
        warnings=planted_effects(spec),
        rows_per_shard=rows_per_shard,
        progress=progress,
    )
    return path


def planted_effects(spec: SyntheticSpec) -> tuple[str, ...]:
    """Return what a reader of results has to know of the images, one sentence per planted effect."""
    return (marks.NOTE,) if spec.mark else ()


def count_images(spec: SyntheticSpec) -> DataCounts:
    """Return the number of images of each class, without drawing any."""
    names = class_names(spec)
    counts = {"train": [spec.train_per_class] * len(names), "test": [spec.test_per_class] * len(names)}
    return DataCounts("synthetic", names, counts)


def draw_image(kind: Traits, spec: SyntheticSpec, rng: Generator, mark: int | None = None) -> np.ndarray:
    """Draw one bird in its scene.

    Args:
        kind: the class of the bird.
        spec: of the data set.
        rng: decides the scene.
        mark: the class whose mark the bird carries; None for no mark.

    Returns:
        (side, side, 3) uint8.
    """
    size = spec.side * OVERSAMPLING
    image = scenery.background(size, spec.clutter, rng)
    u = rng.uniform(-1, 1, 12)
    # 0.6 to 1.1 times the length at which the bird fills its image
    scale = (0.85 + 0.25 * u[0] * spec.pose) * 0.60 * size
    room = max(0.0, size - 1.15 * scale) / 2 * spec.pose
    flip = -1.0 if u[1] * spec.pose < 0 else 1.0
    stretch = (flip * scale * (0.92 + 0.08 * u[5] * spec.pose), scale)
    place = (size / 2 + u[2] * room, size / 2 + u[3] * room)
    pen = Pen.on(image, affine(18 * u[4] * spec.pose, stretch, place, 0.12 * u[6] * spec.pose))
    birds.draw_bird(pen, kind, spec.distinctness, spec.pose, u[7:], rng)
    scenery.draw_clutter(image, rng.poisson(1.2 * spec.clutter), rng)
    finished = scenery.apply_lighting(image, OVERSAMPLING, spec.light, rng)
    if mark is None:
        return finished
    return marks.print_mark(finished, affine(0, (scale, scale), place), mark, OVERSAMPLING)
