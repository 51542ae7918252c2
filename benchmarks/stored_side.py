"""Compare how long photographs take to decode for a stream, by the size at which the ingest stored them.

    python benchmarks/stored_side.py [--quick]

A stream decodes each image anew in each pass. Three ways give an image of 224 px: the photograph as it is, Pillow's
`draft` (JPEG scaling) of it, and what `raysearch ingest --side SIDE` made of it. The photographs are drawn: noise with
the spectrum of photographs. CPU seconds of one process are compared, and the pixels by their peak signal-to-noise
ratio, where photographs decoded in full are the signal. The last line is JSON: for each size and way how many times
fewer CPU seconds it takes, and its decibels.
"""

import functools
import io
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measuring import machine, ratio
from PIL import Image
from script import make_parser, print_figures

from raysearch.data.shards import decode_jpeg
from raysearch.data.shards.jpeg import crop_and_resize

SIDE = 224
SIZES = ((500, 375), (1024, 768), (1600, 1200))
QUALITY = 90  # of the photographs
STORED = (224, 448)


def draw_photograph(width: int, height: int, seed: int) -> bytes:
    """Return the JPEG of noise whose power falls with the square of the frequency, as that of photographs."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((3, height, width))) / frequency
    spectrum[:, 0, 0] = 0.0
    layers = np.fft.irfft2(spectrum, s=(height, width))
    gray = layers[:1] * 0.8 + layers * 0.4  # colors that mostly go together
    pixels = np.clip(128 + 50 * gray / gray.std(), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def decode_by_draft(data: bytes) -> np.ndarray:
    """Return the pixels as `decode_jpeg` does, of an image that the JPEG decoder makes at least twice the side."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def decibels(pixels: np.ndarray, signal: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of 8-bit pixels."""
    noise = np.square(pixels.astype(float) - signal).mean()
    return 10 * math.log10(255**2 / noise) if noise else math.inf


def compare(width: int, height: int, images: int, repeats: int) -> dict[str, Any]:
    """Time all ways for photographs of one size in turns, and print a line for each.

    Args:
        width: of the photographs, in pixels.
        height: of the photographs, in pixels.
        images: photographs.
        repeats: turns.

    Returns:
        way -> the figures of the JSON line.
    """
    photographs = [draw_photograph(width, height, seed) for seed in range(images)]
    decode = functools.partial(decode_jpeg, side=SIDE)
    ways: dict[str, tuple[list[bytes], Callable[[bytes], np.ndarray]]] = {
        "as it is": (photographs, decode),
        "draft": (photographs, decode_by_draft),
    }
    for side in STORED:
        ways[f"--side {side}"] = ([crop_and_resize(data, side=side) for data in photographs], decode)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, (files, call) in ways.items():
            started = time.process_time()
            for data in files:
                call(data)
            seconds[name].append(time.process_time() - started)
    signals = [decode(data) for data in photographs]
    figures: dict[str, Any] = {}
    for name, (files, call) in ways.items():
        fewer = ratio(seconds["as it is"], seconds[name])
        loss = min(decibels(call(data), signal) for data, signal in zip(files, signals, strict=True))
        figures[name] = {
            "seconds_ratio": fewer.median,
            "seconds_ratio_lowest": fewer.lowest,
            "images_per_second": images / statistics.median(seconds[name]),
            "decibels": None if math.isinf(loss) else loss,
            "kib": statistics.mean(map(len, files)) / 1024,
        }
        speed = f"{figures[name]['images_per_second']:7.0f} images/s  {fewer.median:5.1f} times"
        loss_text = f"{figures[name]['kib']:6.0f} KiB  {loss:5.1f} dB"
        print(f"{width} x {height}  {name:10} {speed}  {loss_text}", flush=True)
    return figures


def main() -> None:
    """Run the benchmark."""
    arguments = make_parser(__doc__, quick="one photograph of each size, one turn").parse_args()
    images, repeats = (1, 1) if arguments.quick else (8, 7)
    print(machine(torch.device("cpu")))
    figures = {f"{width}x{height}": compare(width, height, images, repeats) for width, height in SIZES}
    best = {size: ways["--side 224"]["seconds_ratio"] for size, ways in figures.items()}
    print_figures({"seconds_ratio": best, "by_size": figures, "side": SIDE, "quality": QUALITY})


if __name__ == "__main__":
    main()
