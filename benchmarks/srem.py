"""Compare the masks of SREM: raysearch computes a whole batch at once, the paper loops over images and regions.

    python benchmarks/srem.py [--quick] [--threads 1]

The loop is FCAENet's algorithm 1 in torch, as printed. For each image it sorts the zero-padded map, sets one box after
the other to zero and crops. Both sides start from feature maps (B, C, 7, 7) and resize their channel mean to the size
of the image. The masks have to be equal. On a machine with a GPU both are timed there as well, and `train_step.py`
measures raysearch's share of a training step. The last line is JSON: the ratio of seconds (loop / raysearch), its
spread, and the seconds.
"""

import statistics
from typing import Any

import torch
import train_step
from baselines.step_baselines import PAPER, QUICK_GPU, loop_masks
from measuring import THREADS, alternate, machine, ratio
from script import make_parser, print_figures
from torch import Tensor

from raysearch.models.srem import erase_mask


def compare(features: Tensor, side: int, regions: int, size: int, repeats: int) -> dict[str, Any]:
    """Time both sides on the features' device, and print a table.

    Args:
        features: (B, C, h, w) feature maps.
        side: side of the images, in pixels.
        regions: number of erased boxes per image.
        size: side of a box, in pixels.
        repeats: number of turns.

    Returns:
        The figures of the JSON line.
    """
    device = features.device
    calls = {
        "loop": lambda: loop_masks(features, side, regions, size),
        "raysearch": lambda: erase_mask(features, (side, side), regions, size),
    }
    if not torch.equal(calls["loop"](), calls["raysearch"]()):
        raise SystemExit(f"the masks differ on the {device.type}; compare erase_mask with loop_masks")
    seconds = alternate(calls, repeats, device)
    speedup = ratio(seconds["loop"], seconds["raysearch"])
    for name, turns in seconds.items():
        print(f"{device.type:5} {name:10} {1000 * statistics.median(turns):9.2f} ms   (median of {repeats} turns)")
    print(f"{device.type:5} equal masks; the loop takes {speedup}", flush=True)
    return {
        "seconds_ratio": speedup.median,
        "seconds_ratio_lowest": speedup.lowest,
        "seconds_ratio_highest": speedup.highest,
        "seconds": seconds,
    }


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="8 maps of 64 channels at 96 pixels")
    parser.add_argument("--threads", type=int, help=THREADS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    quick = arguments.quick
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
        print("no GPU: SREM's share of a training step on a GPU is not measured")
    size_of_all = {"maps": batch, "channels": channels, "side": side, "regions": regions, "size": size}
    print_figures({**on_cpu, "gpu": on_gpu, "threads": torch.get_num_threads(), "setup": size_of_all})


if __name__ == "__main__":
    main()
