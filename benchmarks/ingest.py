"""Compare the cost of ingesting images: raysearch on Ray, and a plain loop with Pillow, in the same run.

    python benchmarks/ingest.py [--quick] [--images 100000] [--side 128] [--turns 2] [--workers 2]

The loop runs in one process: it opens and loads each image, keeps the bytes of its file and writes a Parquet file every
512 rows. raysearch runs `shards.write_shards` with Ray's workers, which also hashes rows and shards, counts, and can
resume after a kill. Both read the same files. These are drawn once into a temporary tree, and so are in memory.

The ratio compares images per second without the start of Ray and its workers; a second ratio includes that start. CPU
seconds are those of all processes of a side, Ray's own included. On a shared machine, two processes get less than
twice the time of one; the CPU seconds show what the ratio would be on an idle machine. The last line is JSON, with the
ratio of the medians first.
"""

import contextlib
import io
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
from script import make_parser, print_figures

from raysearch.data import layouts, shards
from raysearch.engine.cluster import connection

PICTURES = 200  # distinct images; bytes after the image's end make each file unique
CLASSES = 100
ROWS = 512  # per Parquet file
SETTLE = 6.0  # seconds that Ray's own processes still take to start after `ray.init` returns


class Spent(NamedTuple):
    """The seconds of a turn."""

    wall: float
    cpu: float


def draw_tree(root: Path, images: int, side: int) -> int:
    """Draw JPEGs into a tree of class folders.

    Args:
        root: directory of the tree.
        images: number of files.
        side: side of the images, in pixels.

    Returns:
        The total bytes of all files.
    """
    rng = np.random.default_rng(0)
    pictures = []
    total = 0
    for _ in range(PICTURES):
        # Smooth shapes with noise have about as many bytes per pixel as photographs.
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


def pillow_loop(src: Path, out: Path) -> None:
    """Ingest a tree with a plain loop over Pillow."""
    out.mkdir()
    images: list[bytes] = []
    labels: list[int] = []
    written = 0

    def _write() -> None:
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
                _write()
    if images:
        _write()


def ingest(src: Path, out: Path, workers: int, rows: int = ROWS) -> None:
    """Ingest a tree with raysearch.

    Args:
        src: the tree.
        out: directory of the shards.
        workers: number of workers on Ray.
        rows: rows per shard.
    """
    listing, account = layouts.read_source(layouts.LAYOUTS["folder"], str(src))
    executor = shards.RayExecutor(workers)
    shards.write_shards(
        listing,
        out,
        name="n",
        layout="folder",
        classes=listing.classes,
        rows_per_shard=rows,
        account=account,
        executor=executor,
    )


@contextlib.contextmanager
def timed(into: list[Spent]) -> Iterator[None]:
    """Append to `into` the wall and CPU seconds of the block, by this process and its descendants."""
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
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="4,000 images and one turn")
    parser.add_argument("--images", type=int, help="number of images; default 100,000")
    parser.add_argument("--side", type=int, default=128, help="side of the images, in pixels")
    parser.add_argument("--turns", type=int, help="turns of both sides; default 2")
    parser.add_argument("--workers", type=int, default=2, help="workers on Ray")
    arguments = parser.parse_args()
    images = arguments.images or (4_000 if arguments.quick else 100_000)
    turns = arguments.turns or (1 if arguments.quick else 2)
    spent: dict[str, list[Spent]] = {"loop": [], "raysearch": []}
    start: list[Spent] = []
    print(machine(torch.device("cpu")))
    with tempfile.TemporaryDirectory() as folder:
        src = Path(folder) / "src"
        outs = (Path(folder) / f"{number}" for number in range(1_000_000))
        size = draw_tree(src, images, arguments.side)
        print(
            f"{images:,} JPEGs of {arguments.side} px, {size / images / 1e3:.1f} kB each; {arguments.workers} workers"
        )
        with contextlib.ExitStack() as stack:
            with timed(start):
                stack.enter_context(connection.connected(None))
                draw_tree(Path(folder) / "few", CLASSES * 4, 32)
                ingest(Path(folder) / "few", next(outs), arguments.workers, rows=1)  # this starts every worker
            time.sleep(SETTLE)
            sides = {"loop": partial(pillow_loop, src), "raysearch": partial(ingest, src, workers=arguments.workers)}
            for turn in range(turns):
                for name in list(sides)[:: 1 if turn % 2 else -1]:
                    with timed(spent[name]):
                        sides[name](next(outs))
                    print(f"{name:10} {images / spent[name][-1].wall:8,.0f} images/s   {spent[name][-1]}", flush=True)
    walls = {name: [turn.wall for turn in turns_spent] for name, turns_spent in spent.items()}
    speedup = ratio(walls["loop"], walls["raysearch"])
    with_start = statistics.median(walls["loop"]) / (statistics.median(walls["raysearch"]) + start[0].wall)
    cpu = {name: statistics.median(turn.cpu for turn in side) / images * 1e6 for name, side in spent.items()}
    print(
        f"images per second, raysearch / loop: {speedup}; with Ray's start of {start[0].wall:.1f} s: {with_start:.2f}"
    )
    print(f"CPU microseconds per image: loop {cpu['loop']:.0f}, raysearch {cpu['raysearch']:.0f}")
    print_figures(
        {
            "ingest_over_pil_loop": speedup.median,
            "ingest_over_pil_loop_with_start": with_start,
            "ratio_lowest": speedup.lowest,
            "ratio_highest": speedup.highest,
            "cpu_loop_over_ingest": cpu["loop"] / cpu["raysearch"],
            "images": images,
            "side": arguments.side,
            "bytes_an_image": size / images,
            "workers": arguments.workers,
            "start_seconds": start[0].wall,
            "wall_seconds": walls,
            "cpu_microseconds_an_image": cpu,
        }
    )


if __name__ == "__main__":
    main()
