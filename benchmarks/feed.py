"""How fast images arrive: torch's DataLoader, plain Ray Data, and raysearch's feed in both modes, side by side.

    python benchmarks/feed.py [--quick] [--only 96 224] [--turns N]

Every way gives the same JPEGs in random order with the same crop, flip and normalisation, in a process of its own,
turn by turn. After an epoch of warm-up: images a second over the epochs that follow, their starts included; seconds
from the last batch of an epoch to the first of the next; the most memory that the process and all it started held at a
time, shared pages counted once. `arriving` is the same feed without crop, flip and normalisation, which raysearch
leaves to the training device: bytes on the device.

Then four processes map one resident set and read all of it: what they hold together, by the size of the decoded set.
The last line is JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
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
from feed_baselines import BATCH, WAYS, Asked, Fed, Resident
from measuring import Ratio, machine, ratio

from raysearch.data import shards, synthetic

EPOCHS = 2  # after the warm-up
SIZES = {96: (2000, 20_000), 224: (600, 4_000)}  # side: different images, images of an epoch
QUICK = {48: (200, 2_000)}
READERS = 4
SETTLE = 6.0  # seconds that Ray's own processes take to start after it says that it has
LAST = 1 + EPOCHS  # an epoch that was announced before


class Memory:
    """The most that this process and all below it hold together, looked at once a second, which takes 30 ms."""

    def __enter__(self) -> "Memory":
        self.most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            self.most = max(self.most, held())


def held() -> int:
    """Bytes of this process and all below it, shared pages counted once."""
    total = 0
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def measure(name: str, asked: Asked) -> dict[str, Any]:
    """One way's figures, in this process."""
    torch.set_num_threads(getattr(WAYS[name], "threads", 1))
    with Memory() as memory:
        way = WAYS[name](asked)
        if "ray" in sys.modules:
            time.sleep(SETTLE)
        for _ in way.epoch(0):
            pass
        ended = time.perf_counter()
        count = 0
        first = []
        for number in range(1, 1 + EPOCHS):
            begun = time.perf_counter()
            for batch in way.epoch(number):
                if not count or len(first) < number:
                    first.append(time.perf_counter() - begun)
                count += len(batch)
        seconds = time.perf_counter() - ended
    assert count >= EPOCHS * asked.epoch, f"{name} gave {count} images"
    figures = {"rate": count / seconds, "first": first[0], "mib": memory.most / 2**20}
    return figures | ({"arriving": arriving(way)} if isinstance(way, Fed) else {})


def arriving(way: Fed) -> float:
    """Images a second that come as bytes, before any of them is cropped."""
    device = torch.device("cpu")
    begun = time.perf_counter()
    count = 0
    for rows in way.order(LAST).split(BATCH):
        count += len(way.images.take(rows, device))
    return count / (time.perf_counter() - begun)


def shared(asked: Asked) -> dict[str, float]:
    """What four processes hold more when each has read all of a resident set, by the size of the set."""
    import ray

    way = Resident(asked)

    @ray.remote(num_cpus=0)
    class Reader:
        def ready(self) -> None:
            pass

        def read(self, box: list[Any]) -> int:
            self._pixels = ray.get(box[0])
            return int(sum(int(part.sum()) for part in np.array_split(self._pixels, 64)))

    readers = [Reader.remote() for _ in range(READERS)]  # type: ignore[attr-defined]
    ray.get([reader.ready.remote() for reader in readers])
    before = held()
    size = way.images.images.nbytes
    sums = ray.get([reader.read.remote([way.reference]) for reader in readers])
    assert len(set(sums)) == 1
    return {"held": held() - before, "decoded": size}


def files_of(directory: Path, out: Path) -> None:
    """The images of shards as JPEG files."""
    out.mkdir()
    for number, encoded in enumerate(shards.read_rows(directory, columns=["image"])["image"].to_pylist()):
        (out / f"{number:06d}.jpg").write_bytes(encoded)


def ask(what: str, asked: Asked) -> dict[str, Any]:
    """`what` in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps([what, asked])], capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"{what}: the process failed:\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(side: int, directory: Path, images: int, epoch: int, turns: int) -> Iterator[tuple[str, Any]]:
    """All ways at one side."""
    drawn = synthetic.ensure_shards(
        synthetic.SyntheticSpec(classes=10, train_per_class=images // 10, test_per_class=0, side=side), directory
    )
    files_of(drawn, directory / f"files-{side}")
    asked = Asked(str(drawn), str(directory / f"files-{side}"), side, epoch)
    turns_of: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    for _ in range(turns):
        for name in WAYS:
            turns_of[name].append(ask(name, asked))
    times = {name: [1 / turn["rate"] for turn in turns] for name, turns in turns_of.items()}
    for name, of in turns_of.items():
        rate, first, mib = (statistics.median(turn[key] for turn in of) for key in ("rate", "first", "mib"))
        over = ratio(times["dataloader"], times[name])
        print(
            f"{side:4} px  {name:11} {rate:9,.0f} images/s  {first:7.3f} s to the next epoch  {mib:7,.0f} MiB   {over}"
        )
        yield f"{name}_{side}", {"images_per_second": rate, "next_epoch_seconds": first, "mib": mib, "over": over}
        if "arriving" in of[0]:
            bytes_rate = statistics.median(turn["arriving"] for turn in of)
            print(f"{'':8} {'':11} {bytes_rate:9,.0f} images/s arriving as bytes")
            yield f"{name}_{side}_arriving", bytes_rate
    memory = ask("shared", asked)
    of_set = memory["held"] / memory["decoded"]
    mib = memory["decoded"] / 2**20
    print(f"{side:4} px  {READERS} readers hold {of_set:.2f} of a set of {mib:,.0f} MiB beyond the one that is there")
    yield f"readers_{side}", of_set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small images, one turn")
    parser.add_argument("--only", nargs="*", type=int, metavar="SIDE", help="of 96 and 224")
    parser.add_argument("--turns", type=int, default=3, help="of all ways")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        what, asked = json.loads(given.child)
        print(json.dumps(shared(Asked(*asked)) if what == "shared" else measure(what, Asked(*asked))), flush=True)
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        os._exit(0)  # no matter what threads of loaders are still at
    sizes = QUICK if given.quick else {side: SIZES[side] for side in given.only or SIZES}
    print(machine(torch.device("cpu")))
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        for side, (images, epoch) in sizes.items():
            figures |= dict(compare(side, Path(directory), images, epoch, 1 if given.quick else given.turns))
    ratios: dict[str, float] = {}
    for name in ("resident", "streamed", "ray_data"):
        for side in sizes:
            over: Ratio = figures[f"{name}_{side}"]["over"]
            ratios[f"{name}_over_dataloader_{side}"] = over.median
    streamed = [figures[f"streamed_{side}"]["next_epoch_seconds"] for side in sizes]
    print(json.dumps({**ratios, "second_epoch_first_batch_seconds": max(streamed), **figures}))


if __name__ == "__main__":
    main()
