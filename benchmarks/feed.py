"""Compare the rate of images: torch's DataLoader, plain Ray Data, and raysearch's feed in both modes.

    python benchmarks/feed.py [--quick] [--only 96 224] [--turns N]

Each feed gives the same JPEGs in random order with the same crop, flip and normalization. It runs in a process of its
own, turn by turn. After a warm-up epoch the script measures three things: images per second over the following epochs,
their starts included; seconds from the last batch of an epoch to the first batch of the next; and peak memory. That is
the most that the process and its descendants held at a time, with shared pages counted once. `arriving` is the rate of
raysearch's feed as bytes on the device, without crop, flip and normalization, which raysearch leaves to the training
device.

Then four processes map one resident set and read all of it. The script measures the memory that they hold together,
divided by the size of the decoded set. The last line is JSON.
"""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from baselines.feed_baselines import BASELINES, BATCH, FeedSpec, RaysearchFeed, ResidentFeed
from measuring import Ratio, machine, ratio
from script import HIDDEN, make_parser, print_figures, run_again

from raysearch.data import shards, synthetic

EPOCHS = 2  # after the warm-up
SIZES = {96: (2000, 20_000), 224: (600, 4_000)}  # side: number of distinct images, images in an epoch
QUICK = {48: (200, 2_000)}
READERS = 4
SETTLE = 6.0  # seconds that Ray's own processes still take to start after `ray.init` returns
LAST = 1 + EPOCHS  # an epoch that was prefetched


class Memory:
    """The peak memory of this process and its descendants, sampled once a second; a sample takes 30 ms."""

    def __enter__(self) -> "Memory":
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            self.peak = max(self.peak, held_bytes())


def held_bytes() -> int:
    """Return the bytes of this process and its descendants, with shared pages counted once."""
    total = 0
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def measure(name: str, spec: FeedSpec) -> dict[str, Any]:
    """Measure one feed in this process, and return its figures."""
    torch.set_num_threads(getattr(BASELINES[name], "threads", 1))
    with Memory() as memory:
        baseline = BASELINES[name](spec)
        if "ray" in sys.modules:
            time.sleep(SETTLE)
        for _ in baseline.epoch(0):
            pass
        warm = time.perf_counter()
        count = 0
        first = []
        for number in range(1, 1 + EPOCHS):
            started = time.perf_counter()
            for batch in baseline.epoch(number):
                if not count or len(first) < number:
                    first.append(time.perf_counter() - started)
                count += len(batch)
        seconds = time.perf_counter() - warm
    assert count >= EPOCHS * spec.epoch, f"{name} gave {count} images"
    figures = {"rate": count / seconds, "first": first[0], "mib": memory.peak / 2**20}
    return figures | ({"arriving": arrival_rate(baseline)} if isinstance(baseline, RaysearchFeed) else {})


def arrival_rate(baseline: RaysearchFeed) -> float:
    """Return the images per second that arrive as bytes, before any augmentation."""
    device = torch.device("cpu")
    started = time.perf_counter()
    count = 0
    for rows in baseline.order(LAST).split(BATCH):
        count += len(baseline.images.take(rows, device))
    return count / (time.perf_counter() - started)


def shared_memory(spec: FeedSpec) -> dict[str, float]:
    """Measure the memory that four processes add when each has read all of a resident set, and the size of the set."""
    import ray

    baseline = ResidentFeed(spec)

    @ray.remote(num_cpus=0)
    class _Reader:
        def ready(self) -> None:
            pass

        def read(self, box: list[Any]) -> int:
            self._pixels = ray.get(box[0])
            return int(sum(int(part.sum()) for part in np.array_split(self._pixels, 64)))

    readers = [_Reader.remote() for _ in range(READERS)]  # type: ignore[attr-defined]
    ray.get([reader.ready.remote() for reader in readers])
    before = held_bytes()
    size = baseline.images.images.nbytes
    sums = ray.get([reader.read.remote([baseline.reference]) for reader in readers])
    assert len(set(sums)) == 1
    return {"held": held_bytes() - before, "decoded": size}


def write_files(directory: Path, out: Path) -> None:
    """Write the images of shards as JPEG files."""
    out.mkdir()
    for number, encoded in enumerate(shards.read_rows(directory, columns=["image"])["image"].to_pylist()):
        (out / f"{number:06d}.jpg").write_bytes(encoded)


def run_child(measurement: str, spec: FeedSpec) -> dict[str, Any]:
    """Run a measurement in a process of its own; exit if it fails.

    Args:
        measurement: name of a baseline, or "shared".
        spec: the images.
    """
    return run_again(__file__, ["--child", json.dumps([measurement, spec])], measurement)


def compare(side: int, directory: Path, images: int, epoch: int, turns: int) -> Iterator[tuple[str, Any]]:
    """Compare all feeds at one side, and print a table.

    Args:
        side: side of the images, in pixels.
        directory: scratch directory.
        images: number of distinct images.
        epoch: images in an epoch.
        turns: number of turns.

    Yields:
        Name and value of each entry of the JSON line.
    """
    dataset = synthetic.SyntheticSpec(classes=10, train_per_class=images // 10, test_per_class=0, side=side)
    shards_dir = synthetic.ensure_shards(dataset, directory)
    files_dir = directory / f"files-{side}"
    write_files(shards_dir, files_dir)
    spec = FeedSpec(str(shards_dir), str(files_dir), side, epoch)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in BASELINES}
    for _ in range(turns):
        for name in BASELINES:
            results[name].append(run_child(name, spec))
    times = {name: [1 / turn["rate"] for turn in measured] for name, measured in results.items()}
    for name, measured in results.items():
        rate, first, mib = (statistics.median(turn[key] for turn in measured) for key in ("rate", "first", "mib"))
        over = ratio(times["dataloader"], times[name])
        print(
            f"{side:4} px  {name:11} {rate:9,.0f} images/s  {first:7.3f} s to the next epoch  {mib:7,.0f} MiB   {over}"
        )
        yield f"{name}_{side}", {"images_per_second": rate, "next_epoch_seconds": first, "mib": mib, "over": over}
        if "arriving" in measured[0]:
            arriving = statistics.median(turn["arriving"] for turn in measured)
            print(f"{'':8} {'':11} {arriving:9,.0f} images/s arriving as bytes")
            yield f"{name}_{side}_arriving", arriving
    memory = run_child("shared", spec)
    share = memory["held"] / memory["decoded"]
    mib = memory["decoded"] / 2**20
    print(f"{side:4} px  {READERS} readers add {share:.2f} of the size of a resident set of {mib:,.0f} MiB")
    yield f"readers_{side}", share


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="small images, one turn")
    parser.add_argument("--only", nargs="*", type=int, metavar="SIDE", help="sides in pixels: 96, 224 or both")
    parser.add_argument("--turns", type=int, default=3, help="turns of all feeds")
    parser.add_argument("--child", help=HIDDEN)
    arguments = parser.parse_args()
    if arguments.child:
        measurement, fields = json.loads(arguments.child)
        spec = FeedSpec(*fields)
        figures = shared_memory(spec) if measurement == "shared" else measure(measurement, spec)
        print_figures(figures)
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        os._exit(0)  # loaders may still have threads at work
    sizes = QUICK if arguments.quick else {side: SIZES[side] for side in arguments.only or SIZES}
    print(machine(torch.device("cpu")))
    entries: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        for side, (images, epoch) in sizes.items():
            entries |= dict(compare(side, Path(directory), images, epoch, 1 if arguments.quick else arguments.turns))
    ratios: dict[str, float] = {}
    for name in ("resident", "streamed", "ray_data"):
        for side in sizes:
            over: Ratio = entries[f"{name}_{side}"]["over"]
            ratios[f"{name}_over_dataloader_{side}"] = over.median
    streamed = [entries[f"streamed_{side}"]["next_epoch_seconds"] for side in sizes]
    print_figures({**ratios, "second_epoch_first_batch_seconds": max(streamed), **entries})


if __name__ == "__main__":
    main()
