"""The masks of SREM: raysearch's for a whole batch at once, and the paper's loop over images and regions.

    python benchmarks/srem.py [--quick] [--threads 1]

The loop is FCAENet's algorithm 1 in torch, as it is read: for each image, sort the zero-padded map, then set box after
box to zero and crop. Both start from feature maps (B, C, 7, 7) and take their channel mean to the size of the image;
the masks have to be the same. On a machine with a GPU both are timed there as well, and `train_step.py` is asked which
share of a training step raysearch's takes. The last line is JSON: the ratio of seconds (loop / raysearch), its spread,
and the seconds.
"""

import argparse
import json
import statistics
import sys
from typing import Any

import torch
import train_step
from measuring import THREADS, alternate, machine, ratio
from step_baselines import PAPER, QUICK_GPU, loop_masks
from torch import Tensor

from raysearch.models.srem import erase_mask


def compare(features: Tensor, side: int, regions: int, size: int, repeats: int) -> dict[str, Any]:
    """Time both on the features' device; prints a table and returns the figures."""
    device = features.device
    calls = {
        "loop": lambda: loop_masks(features, side, regions, size),
        "raysearch": lambda: erase_mask(features, (side, side), regions, size),
    }
    if not torch.equal(calls["loop"](), calls["raysearch"]()):
        sys.exit(f"on the {device.type} the masks are not the same")
    taken = alternate(calls, repeats, device)
    speedup = ratio(taken["loop"], taken["raysearch"])
    for name, seconds in taken.items():
        print(
            f"{device.type:5} {name:10} {1000 * statistics.median(seconds):9.2f} ms   (of {repeats} turns, the median)"
        )
    print(f"{device.type:5} the same masks; the loop takes {speedup}", flush=True)
    return {
        "seconds_ratio": speedup.median,
        "seconds_ratio_lowest": speedup.lowest,
        "seconds_ratio_highest": speedup.highest,
        "seconds": taken,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="8 maps of 64 channels at 96 pixels")
    parser.add_argument("--threads", type=int, help=THREADS)
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    quick = asked.quick
    batch, channels, side, size, repeats = (8, 64, 96, 14, 3) if quick else (64, 2048, 224, 32, 9)
    regions = 50
    cpu = torch.device("cpu")
    print(machine(cpu))
    print(f"{batch} maps of {channels} x 7 x 7, images of {side} x {side}, {regions} regions of {size} x {size}")
    features = torch.randn(batch, channels, 7, 7, generator=torch.Generator().manual_seed(0)).relu()
    on_cpu = compare(features, side, regions, size, repeats)
    on_gpu: dict[str, Any] = {}
    if torch.cuda.is_available():
        gpu = torch.device("cuda")
        print(machine(gpu))
        on_gpu = compare(features.to(gpu), side, regions, size, repeats)
        on_gpu |= train_step.share_of_srem(QUICK_GPU if quick else PAPER, gpu)
    else:
        print("no GPU here: what share of a training step SREM takes there is not measured")
    size_of_all = {"maps": batch, "channels": channels, "side": side, "regions": regions, "size": size}
    print(json.dumps({**on_cpu, "gpu": on_gpu, "threads": torch.get_num_threads(), "setup": size_of_all}))


if __name__ == "__main__":
    main()
