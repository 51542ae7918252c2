"""Few-shot episodes: raysearch's HelixFormer and LWFM-SPM beside the usual way of writing them, in the same run.

    python benchmarks/fewshot.py [--quick] [--threads 1] [--turns 3] [--only helix_conv4_5shot ...]

The usual way (`benchmarks/pairwise`) copies supports and queries to all pairs and runs one network over the pairs, with
attention maps laid out; for LWFM-SPM with phi a pair and scipy a problem. raysearch computes once an image what is the
image's. Both have the same weights, and the script ends with an error where their logits are apart by more than 1e-4.

train   a step on one episode, forward and backward of the whole network, trunk included
eval    the usual way sends the images of each episode through the trunk; raysearch takes maps from a store, where each
        image of a split was put once. Its share of that is charged: 2,000 episodes, as both papers count them, of
        CUB-200-2011's 2,965 test images are 1.5 images an episode
pairs   of LWFM-SPM alone: 5-way 1-shot, 75 queries, two layers of 512 channels on 3 x 3 pixels, from maps to logits
assign  3,750 assignments of 9 x 9, as a 5-shot episode has them, beside a loop over scipy's function

Memory is the most that one episode holds over what was there before it: on a CPU of the resident set, in a process for
each way; on a GPU of the allocator. raysearch's includes putting the episode's images into a store. On a CPU the larger
cases have fewer queries, as their lines say, since the usual way would not fit; on a GPU all have 15 a class, computed
in bfloat16, and the share of a matrix product's peak is of raysearch's training step.

All ratios are usual / raysearch, of seconds and of bytes, so that 4 is four times as fast or a quarter of the memory.
The last line is JSON: first the ratios, `helix_eval_*` of Conv-4 at 1 shot, then what they come from.
"""

import argparse
import gc
import json
import subprocess
import sys
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from measuring import THREADS, Ratio, alternate, machine, matrix_peak, peak_bytes, ratio, restart_peak
from pairwise.cases import TOLERANCE, WAYS, Case, Episode, apart, draw, judge, judge_stored, networks, store_of, train
from pairwise.lwfm import PairwiseMetric
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from raysearch.models.fewshot import EpisodicNetwork
from raysearch.models.lwfm import LayerwiseMatching
from raysearch.models.spm import assign

IMAGES_AN_EPISODE = 2965 / 2000  # of CUB's test classes, by the episodes of an evaluation
WAYS_OF_WRITING = ("usual", "raysearch")
CPU = [
    Case("helix", "conv4", 1, 15),
    Case("helix", "conv4", 5, 3),
    Case("helix", "resnet12", 1, 3),
    Case("helix", "resnet12", 5, 1),
    *(Case("lwfm", backbone, shots, 15) for backbone in ("conv4", "resnet12") for shots in (1, 5)),
]
GPU = [case._replace(queries=15) for case in CPU]
QUICK = [Case(method, "conv4", 1, 1, side=32) for method in ("helix", "lwfm")]
MATRIX = 8192  # side of the product that measures a GPU's peak
PAIRS = (75, 512)
QUICK_PAIRS = (10, 64)  # queries, channels
PROBLEMS = 3750
QUICK_PROBLEMS = 375


def speeds(case: Case, turns: int, device: torch.device) -> dict[str, Any]:
    """Time both ways in turn; ends the script where their logits differ."""
    both = networks(case, device)
    episode = draw(case, device)
    ours = both["raysearch"]
    usual = both["usual"]
    difference = disagreement(both, episode)
    if not difference <= TOLERANCE:
        sys.exit(f"{case.name}: logits for the same weights are apart by {difference}")
    store = store_of(ours, episode)
    images = len(episode.images)
    taken = alternate(
        {
            "usual": partial(judge, usual, episode),
            "raysearch": partial(judge_stored, ours, store, episode),
            "storing": partial(store_of, ours, episode),
        },
        turns,
        device,
    )
    share = IMAGES_AN_EPISODE / images
    ours_eval = [pairs + share * storing for pairs, storing in zip(taken["raysearch"], taken["storing"], strict=True)]
    training = alternate({name: partial(train, network, episode) for name, network in both.items()}, turns, device)
    result = {"apart": difference, "eval": {"usual": taken["usual"], "raysearch": ours_eval}, "train": training}
    if device.type == "cuda":
        achieved = flops(ours, episode) / median(training["raysearch"])
        result["share_of_peak"] = achieved / matrix_peak(MATRIX, device)
        print(
            f"{case.name}: raysearch's training step reaches {result['share_of_peak']:.1%} of a matrix product's peak"
        )
    return result


def disagreement(both: dict[str, EpisodicNetwork], episode: Episode) -> float:
    """The largest difference of logits, in training and in eval mode, in float32."""
    modes = []
    for training in (True, False):
        with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
            modes.append([network.train(training)(episode.ready, episode.layout).logits for network in both.values()])
    return max(apart(*logits) for logits in modes)


def flops(network: EpisodicNetwork, episode: Episode) -> float:
    with FlopCounterMode(display=False) as counter:
        train(network, episode)
    return float(counter.get_total_flops())


def held(case: Case, way: str, phase: str, device: torch.device) -> int:
    """Bytes that one episode holds at most over what was there before it."""
    network = networks(case, device)[way]
    episode = draw(case, device)
    gc.collect()
    before = restart_peak(device)
    if phase == "train":
        train(network, episode)
    elif way == "usual":
        judge(network, episode)
    else:
        judge_stored(network, store_of(network, episode), episode)
    return peak_bytes(device) - before


def memory(case: Case, phase: str, threads: int) -> dict[str, int]:
    """`held` by each way, in a process of its own."""
    bytes_of = {}
    for way in WAYS_OF_WRITING:
        case_json = json.dumps([case, way, phase])
        command = [sys.executable, __file__, "--threads", str(threads), "--held", case_json]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{case.name}, {way}, {phase}: the process failed:\n{done.stdout}\n{done.stderr}")
        bytes_of[way] = int(done.stdout.splitlines()[-1])
    return bytes_of


def pair_stage(queries: int, channels: int, turns: int, device: torch.device) -> dict[str, list[float]]:
    """LWFM-SPM's metric in both ways, without a trunk: seconds."""
    torch.manual_seed(0)
    metric = LayerwiseMatching((channels, channels))
    usual = PairwiseMetric((channels, channels))
    usual.load_state_dict(metric.state_dict())
    support = [torch.rand(1, 5, 1, channels, 3, 3, device=device) for _ in range(2)]
    query = [torch.rand(1, queries, channels, 3, 3, device=device) for _ in range(2)]
    with torch.no_grad():
        ways = {
            "usual": partial(usual.to(device), support, query),
            "raysearch": partial(metric.to(device), support, query),
        }
        difference = apart(ways["usual"]()[0], ways["raysearch"]()[0])
        if not difference <= TOLERANCE:
            sys.exit(f"pairs of LWFM-SPM: logits are apart by {difference}")
        return alternate(ways, turns, device, warm_up=2)


def assignments(problems: int, turns: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of `assign` and of the loop, which have to find the same."""
    cost = torch.rand(problems, 9, 9, generator=torch.Generator().manual_seed(0)).to(device)
    if not torch.equal(assign(cost), scipy_loop(cost)):
        sys.exit("assign and scipy differ")
    return alternate({"usual": partial(scipy_loop, cost), "raysearch": partial(assign, cost)}, turns, device, warm_up=2)


def scipy_loop(cost: Tensor) -> Tensor:
    columns = [linear_sum_assignment(problem)[1] for problem in cost.cpu().numpy()]
    return torch.from_numpy(np.stack(columns)).to(cost.device)


def line(what: str, taken: dict[str, list[float]], of: str = "ms") -> Ratio:
    """Print a row of the table."""
    speedup = ratio(taken["usual"], taken["raysearch"])
    rates = [median(taken[way]) for way in WAYS_OF_WRITING]
    shown = [f"{1 / rate:10.3g}" if of == "episodes/s" else f"{1000 * rate:10.4g}" for rate in rates]
    print(f"{what:42} {of:>10} {shown[0]} {shown[1]}   {speedup}", flush=True)
    return speedup


def bytes_line(what: str, bytes_of: dict[str, int]) -> float:
    """Print a row of the table."""
    less = bytes_of["usual"] / max(1, bytes_of["raysearch"])
    mib = [bytes_of[way] / 2**20 for way in WAYS_OF_WRITING]
    print(f"{what:42} {'MiB':>10} {mib[0]:10.0f} {mib[1]:10.0f}   {less:.3g} times", flush=True)
    return less


def figures(name: str, speedup: Ratio) -> dict[str, float]:
    return {name: speedup.median, f"{name}_lowest": speedup.lowest, f"{name}_highest": speedup.highest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Conv-4 on 32 pixels, and one query a class")
    parser.add_argument("--threads", type=int, default=1, help=THREADS)
    parser.add_argument("--turns", type=int, default=3, help="of both ways")
    parser.add_argument("--only", nargs="*", metavar="CASE", help="besides the first, such as lwfm_resnet12_1shot")
    parser.add_argument("--held", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked.held:
        fields, way, phase = json.loads(asked.held)
        print(held(Case(*fields), way, phase, device))
        return
    cases = QUICK if asked.quick else GPU if device.type == "cuda" else CPU
    if asked.only is not None:
        unknown = set(asked.only) - {case.name for case in cases}
        if unknown:
            parser.error(f"--only: no case {sorted(unknown)}; there are {[case.name for case in cases]}")
        cases = [case for case in cases if case is cases[0] or case.name in asked.only]
    queries, channels = QUICK_PAIRS if asked.quick else PAIRS
    problems = QUICK_PROBLEMS if asked.quick else PROBLEMS

    print(machine(device))
    print(f"{'':42} {'':>10} {'usual':>10} {'raysearch':>10}   usual / raysearch")
    of_pairs = line("lwfm, pairs alone", pair_stage(queries, channels, max(7, asked.turns), device))
    of_assign = line(f"{problems} assignments of 9 x 9", assignments(problems, max(7, asked.turns), device))
    ratios: dict[str, float] = {}
    details: dict[str, Any] = {}
    for case in cases:
        what = f"{case.method}, {case.backbone}, {case.shots}-shot, {WAYS * case.queries} queries"
        taken = speeds(case, asked.turns, device)
        for phase in ("eval", "train"):
            ratios |= figures(f"{case.name}_{phase}_speed", line(f"{what}, {phase}", taken[phase], "episodes/s"))
            if not asked.quick or (case is cases[0] and phase == "eval"):
                taken[f"{phase}_bytes"] = memory(case, phase, asked.threads)
                less = bytes_line(f"{what}, {phase}", taken[f"{phase}_bytes"])
                ratios[f"{case.name}_{phase}_memory"] = less
        details[case.name] = {"case": case._asdict(), **taken}
    first = cases[0].name
    print(
        json.dumps(
            {
                "helix_eval_speed": ratios[f"{first}_eval_speed"],
                "helix_eval_memory": ratios[f"{first}_eval_memory"],
                **figures("lwfm_pair_speed", of_pairs),
                **figures("assign_speed", of_assign),
                **ratios,
                "device": device.type,
                "cases": details,
            }
        )
    )


if __name__ == "__main__":
    main()
