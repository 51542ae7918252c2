"""Whatever the shards keep, training can decode; and what Pillow can read is not lost."""

import contextlib
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from raysearch.data import shards

X, Y = np.meshgrid(np.arange(52), np.arange(40))
GRAIN = np.random.default_rng(0).integers(0, 30, (40, 52, 3))
PICTURE = Image.fromarray((np.stack([X * 4, Y * 5, (X + Y) * 2], axis=-1) + GRAIN).clip(0, 255).astype(np.uint8))


def file(image: Image.Image = PICTURE, format: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


KEPT = {
    "baseline": file(),
    "progressive": file(progressive=True),
    "subsampled": file(subsampling=2),
    "restart markers": file(restart_marker_blocks=2),
    "no YCbCr": file(keep_rgb=True),
    "several pictures": file(format="MPO", save_all=True, append_images=[PICTURE]),
    "bytes after the end": file() + b"junk",
    "one pixel": file(Image.new("RGB", (1, 1))),
}
ENCODED = {
    "grayscale": file(PICTURE.convert("L")),
    "CMYK": file(PICTURE.convert("CMYK")),
    "16 bits": file(Image.fromarray((X * 1200).astype(np.uint16)), "PNG"),
    "32 bits": file(PICTURE.convert("I"), "TIFF"),
    "float": file(PICTURE.convert("F"), "TIFF"),
    "Lab": file(PICTURE.convert("LAB"), "TIFF"),
    "one bit": file(PICTURE.convert("1"), "PNG"),
    "gray with alpha": file(PICTURE.convert("LA"), "PNG"),
    "palette": file(PICTURE.convert("P"), "GIF"),
    "WebP": file(format="WEBP"),
}


def trained_on(data: bytes) -> np.ndarray:
    return shards.decode_jpeg(data)


@pytest.mark.parametrize("name", KEPT)
def test_an_rgb_jpeg_is_kept_byte_for_byte(name: str) -> None:
    data = KEPT[name]
    kept, (width, height) = shards.to_rgb_jpeg(data)
    assert kept == data
    assert trained_on(kept).shape == (height, width, 3)


@pytest.mark.parametrize("name", ENCODED)
def test_anything_else_is_encoded_again(name: str) -> None:
    data = ENCODED[name]
    kept, (width, height) = shards.to_rgb_jpeg(data)
    assert kept != data
    assert trained_on(kept).shape == (height, width, 3) == (40, 52, 3)


def test_what_pillow_alone_can_read_is_encoded_again() -> None:
    """Without its end marker a JPEG is truncated to torchvision; to Pillow only some are, by chance of the bits."""
    rescued = 0
    for seed in range(40):
        noise = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8))
        whole = file(noise, restart_marker_blocks=1)
        with contextlib.suppress(shards.CorruptImage):
            kept, _ = shards.to_rgb_jpeg(whole[:-2])
            assert np.abs(trained_on(kept).astype(int) - trained_on(whole)).mean() < 6
            rescued += 1
    assert rescued


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # Pillow's, on broken TIFF tags
@pytest.mark.parametrize("name", [*KEPT, *ENCODED])
def test_whatever_is_cut_or_overwritten_trains_or_is_corrupt(name: str) -> None:
    data = (KEPT | ENCODED)[name]
    rng = np.random.default_rng(0)
    for place in rng.integers(2, len(data), 30):
        for damaged in (data[:place], data[:place] + bytes(len(data) - place), data[:place] + data[place + 3 :]):
            with contextlib.suppress(shards.CorruptImage):
                kept, (width, height) = shards.to_rgb_jpeg(damaged)
                assert trained_on(kept).shape == (height, width, 3)


def verdict(read: Callable[[bytes], object], data: bytes) -> str:
    try:
        read(data)
    except UnidentifiedImageError:
        return "not an image"
    except Exception as error:
        return " ".join((str(error) or repr(error)).split())
    return "decodes"


def at_full_size(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB")


@pytest.mark.parametrize("name", KEPT)
def test_damage_is_what_decoding_at_full_size_finds(name: str) -> None:
    """Other bytes, missing ones, more of them and an early end, anywhere behind the first header."""
    data, rng, found = KEPT[name], np.random.default_rng(0), Counter[str]()
    for place in rng.integers(22, len(data), 60).tolist():
        junk = rng.bytes(9)
        for damaged in (
            data[:place] + junk[:1] + data[place + 1 :],
            data[:place] + data[place + 7 :],
            data[:place] + junk + data[place:],
            data[:place],
        ):
            expected = verdict(at_full_size, damaged)
            assert verdict(shards.to_rgb_jpeg, damaged) == expected
            found[expected] += 1
    assert len(found) > 1
    assert found["decodes"]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_corrupt(progressive: bool) -> None:
    with pytest.raises(shards.CorruptImage, match="truncated"):
        shards.to_rgb_jpeg(file(progressive=progressive)[:-40])
    with pytest.raises(shards.CorruptImage, match="the file is empty"):
        shards.to_rgb_jpeg(b"")


def test_zoom_keeps_the_middle() -> None:
    """Against resizing the whole to side x zoom and cutting out the middle, as the presets of the field say it."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    data = shards.encode_jpeg(Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC))
    side, zoom = 56, 8 / 7
    whole = shards.decode_jpeg(data, round(side * zoom)).astype(float)
    assert whole.shape == (64, 64, 3)
    middle = whole[4:60, 4:60]
    zoomed = shards.decode_jpeg(data, side, zoom).astype(float)
    assert np.abs(zoomed - middle).mean() < 1.0
    assert np.abs(shards.decode_jpeg(data, side).astype(float) - middle).mean() > 5.0
