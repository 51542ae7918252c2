"""What ingesting images costs: raysearch on Ray beside the loop that people write with Pillow, in the same run.

    python benchmarks/ingest.py [--quick] [--images 100000] [--side 128] [--turns 2] [--workers 2]

The loop, in one process: open and load each image, keep its file's bytes, write a Parquet file every 512 rows.
raysearch: `shards.write` with Ray's workers, which also hashes rows and shards, counts, and can be killed and go on.
Both read the same files, drawn once into a temporary tree and so in memory. The ratio is of images a second without the
start of Ray and its workers, and stands beside the one with it; CPU seconds are of all processes of each way, Ray's own
included. Where others use the machine, two processes get less than twice the time of one, and the CPU seconds say what
the ratio would be by itself. The last line is JSON, with the ratio of the medians first.
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measuring import machine, ratio
from PIL import Image

from raysearch.data import layouts, shards
from raysearch.engine.cluster import connection

PICTURES = 200  # that are distinct; a comment behind makes each file another
CLASSES = 100
ROWS = 512  # a Parquet file
SETTLE = 6.0  # seconds that Ray's own processes take to start after it says that it has


class Spent(NamedTuple):
    """Seconds of a turn."""

    wall: float
    cpu: float


def draw(root: Path, images: int, side: int) -> int:
    """A tree of class folders; returns the bytes of all files."""
    rng = np.random.default_rng(0)
    pictures = []
    total = 0
    for _ in range(PICTURES):
        # smooth shapes with noise: about as many bytes a pixel as photographs
        small = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
        pixels = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=90)
        pictures.append(file.getvalue())
    for label in range(CLASSES):
        (root / f"class_{label:03d}").mkdir(parents=True)
    for number in range(images):
        data = pictures[number % PICTURES] + number.to_bytes(8, "little")  # decoders stop at the image's end
        (root / f"class_{number % CLASSES:03d}" / f"{number:07d}.jpg").write_bytes(data)
        total += len(data)
    return total


def loop(src: Path, out: Path) -> None:
    """The way that people write."""
    out.mkdir()
    images: list[bytes] = []
    labels: list[int] = []
    written = 0

    def write() -> None:
        nonlocal written
        pq.write_table(pa.table({"image": images, "label": labels}), out / f"{written:05d}.parquet")
        written += 1
        images.clear()
        labels.clear()

    for label, folder in enumerate(sorted(src.iterdir())):
        for path in sorted(folder.iterdir()):
            with Image.open(path) as image:
                image.load()
                image.convert("RGB")
            images.append(path.read_bytes())
            labels.append(label)
            if len(images) == ROWS:
                write()
    if images:
        write()


def ingest(src: Path, out: Path, workers: int, rows: int = ROWS) -> None:
    listing = layouts.read_folder(str(src))
    executor = shards.RayExecutor(workers)
    shards.write_shards(
        listing, out, name="n", layout="folder", classes=listing.classes, rows_per_shard=rows, executor=executor
    )


@contextlib.contextmanager
def timed(into: list[Spent]) -> Iterator[None]:
    """Wall and CPU seconds of what is done inside, by this process and those below it."""
    cpu = _cpu_seconds()
    wall = time.perf_counter()
    yield
    into.append(Spent(time.perf_counter() - wall, _cpu_seconds() - cpu))


def _cpu_seconds() -> float:
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            spent = process.cpu_times()
            total += spent.user + spent.system
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4,000 images and one turn")
    parser.add_argument("--images", type=int, help="100,000 if not said")
    parser.add_argument("--side", type=int, default=128, help="of the images, in pixels")
    parser.add_argument("--turns", type=int, help="of each way; 2 if not said")
    parser.add_argument("--workers", type=int, default=2, help="on Ray")
    asked = parser.parse_args()
    images = asked.images or (4_000 if asked.quick else 100_000)
    turns = asked.turns or (1 if asked.quick else 2)
    spent: dict[str, list[Spent]] = {"loop": [], "raysearch": []}
    start: list[Spent] = []
    print(machine(torch.device("cpu")))
    with tempfile.TemporaryDirectory() as folder:
        src = Path(folder) / "src"
        outs = (Path(folder) / f"{number}" for number in range(1_000_000))
        size = draw(src, images, asked.side)
        print(f"{images:,} JPEGs of {asked.side} px, {size / images / 1e3:.1f} kB each; {asked.workers} workers")
        with contextlib.ExitStack() as stack:
            with timed(start):
                stack.enter_context(connection.connected(None))
                draw(Path(folder) / "few", CLASSES * 4, 32)
                ingest(Path(folder) / "few", next(outs), asked.workers, rows=1)  # each worker has begun
            time.sleep(SETTLE)
            ways = {"loop": partial(loop, src), "raysearch": partial(ingest, src, workers=asked.workers)}
            for turn in range(turns):
                for name in list(ways)[:: 1 if turn % 2 else -1]:
                    with timed(spent[name]):
                        ways[name](next(outs))
                    print(f"{name:10} {images / spent[name][-1].wall:8,.0f} images/s   {spent[name][-1]}", flush=True)
    walls = {name: [turn.wall for turn in of] for name, of in spent.items()}
    speedup = ratio(walls["loop"], walls["raysearch"])
    with_start = statistics.median(walls["loop"]) / (statistics.median(walls["raysearch"]) + start[0].wall)
    cpu = {name: statistics.median(turn.cpu for turn in of) / images * 1e6 for name, of in spent.items()}
    print(f"raysearch over the loop: {speedup}; with Ray's start of {start[0].wall:.1f} s: {with_start:.2f}")
    print(f"CPU microseconds an image: loop {cpu['loop']:.0f}, raysearch {cpu['raysearch']:.0f}")
    print(
        json.dumps(
            {
                "ingest_over_pil_loop": speedup.median,
                "ingest_over_pil_loop_with_start": with_start,
                "ratio_lowest": speedup.lowest,
                "ratio_highest": speedup.highest,
                "cpu_loop_over_ingest": cpu["loop"] / cpu["raysearch"],
                "images": images,
                "side": asked.side,
                "bytes_an_image": size / images,
                "workers": asked.workers,
                "start_seconds": start[0].wall,
                "wall_seconds": walls,
                "cpu_microseconds_an_image": cpu,
            }
        )
    )


if __name__ == "__main__":
    main()
