"""Compare few-shot episodes: raysearch's HelixFormer and LWFM-SPM with the usual implementation, in the same run.

    python benchmarks/fewshot.py [--quick] [--threads 1] [--turns 3] [--only helix_conv4_5shot ...]

The usual implementation (`benchmarks/pairwise`) copies supports and queries to all pairs. It runs one network over the
pairs, with explicit attention maps; for LWFM-SPM it calls phi once per pair and scipy once per assignment. raysearch
computes everything that depends on one image once per image. Both have the same weights. The script ends with an error
if their logits differ by more than 1e-4.

train   a step on one episode, forward and backward through the whole network, backbone included
eval    the usual implementation sends the images of each episode through the backbone; raysearch takes maps from a
        store, where each image of a split is put once. A share of that cost is added to raysearch's time: 2,000
        episodes, the number in both papers, and CUB-200-2011's 2,965 test images give 1.5 images per episode
pairs   LWFM-SPM's metric alone: 5-way 1-shot, 75 queries, two layers of 512 channels on 3 x 3 pixels, from maps to
        logits
assign  3,750 assignments of 9 x 9, the number in a 5-shot episode, compared with a loop over scipy's function

Memory is the peak during one episode, minus the memory before it: the resident set on a CPU, in a process for each
implementation; the allocator's bytes on a GPU. raysearch's includes storing the maps of the episode's images. On a CPU
the larger cases have fewer queries, which the table shows, because the usual implementation would not fit. On a GPU
all cases have 15 queries per class and compute in bfloat16. The printed share of a matrix product's peak is that of
raysearch's training step.

All ratios are usual / raysearch, in seconds and in bytes: 4 is four times as fast, or a quarter of the memory. The last
line is JSON: first the ratios, with `helix_eval_*` of Conv-4 at 1 shot at the head, then the figures behind them.
"""

import gc
import json
from functools import partial
from statistics import median
from typing import Any

import measuring
import numpy as np
import torch
from pairwise import cases
from pairwise.cases import TOLERANCE, WAYS, Case, Episode
from pairwise.lwfm import PairwiseMetric
from scipy.optimize import linear_sum_assignment
from script import HIDDEN, make_parser, print_figures, run_again
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from raysearch.models import lwfm, spm
from raysearch.models.fewshot import EpisodicNetwork

IMAGES_PER_EPISODE = 2965 / 2000  # CUB's test images divided by the episodes of an evaluation
IMPLEMENTATIONS = ("usual", "raysearch")
CPU = [
    Case("helix", "conv4", 1, 15),
    Case("helix", "conv4", 5, 3),
    Case("helix", "resnet12", 1, 3),
    Case("helix", "resnet12", 5, 1),
    *(Case("lwfm", backbone, shots, 15) for backbone in ("conv4", "resnet12") for shots in (1, 5)),
]
GPU = [case._replace(queries=15) for case in CPU]
QUICK = [Case(method, "conv4", 1, 1, side=32) for method in ("helix", "lwfm")]
MATRIX = 8192  # rows of the matrices whose product measures a GPU's peak
PAIRS = (75, 512)
QUICK_PAIRS = (10, 64)  # queries, channels
ASSIGNMENTS = 3750
QUICK_ASSIGNMENTS = 375


def time_case(case: Case, turns: int, device: torch.device) -> dict[str, Any]:
    """Time both implementations of a case in turn; exit if their logits differ."""
    networks = cases.build_networks(case, device)
    episode = cases.draw_episode(case, device)
    ours = networks["raysearch"]
    usual = networks["usual"]
    difference = disagreement(networks, episode)
    if not difference <= TOLERANCE:
        raise SystemExit(f"{case.name}: logits for the same weights differ by {difference}; compare the two heads")
    store = cases.build_store(ours, episode)
    images = len(episode.images)
    seconds = measuring.alternate(
        {
            "usual": partial(cases.evaluate_images, usual, episode),
            "raysearch": partial(cases.evaluate_stored, ours, store, episode),
            "storing": partial(cases.build_store, ours, episode),
        },
        turns,
        device,
    )
    share = IMAGES_PER_EPISODE / images
    ours_eval = [
        pairs + share * storing for pairs, storing in zip(seconds["raysearch"], seconds["storing"], strict=True)
    ]
    steps = {name: partial(cases.train_step, network, episode) for name, network in networks.items()}
    training = measuring.alternate(steps, turns, device)
    result = {"apart": difference, "eval": {"usual": seconds["usual"], "raysearch": ours_eval}, "train": training}
    if device.type == "cuda":
        achieved = training_flops(ours, episode) / median(training["raysearch"])
        result["share_of_peak"] = achieved / measuring.matrix_peak(MATRIX, device)
        print(
            f"{case.name}: raysearch's training step reaches {result['share_of_peak']:.1%} of a matrix product's peak"
        )
    return result


def disagreement(networks: dict[str, EpisodicNetwork], episode: Episode) -> float:
    """Return the largest difference of logits, in training and in evaluation mode, in float32."""
    modes = []
    for training in (True, False):
        with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
            outputs = [network.train(training)(episode.ready, episode.layout) for network in networks.values()]
        modes.append([output.logits for output in outputs])
    return max(cases.largest_difference(*logits) for logits in modes)


def training_flops(network: EpisodicNetwork, episode: Episode) -> float:
    """Count the floating-point operations of a training step."""
    with FlopCounterMode(display=False) as counter:
        cases.train_step(network, episode)
    return float(counter.get_total_flops())


def episode_bytes(case: Case, implementation: str, phase: str, device: torch.device) -> int:
    """Return the peak of the bytes held during one episode, minus those held before it.

    Args:
        case: the case.
        implementation: "usual" or "raysearch".
        phase: "train" or "eval".
        device: device to compute on.
    """
    network = cases.build_networks(case, device)[implementation]
    episode = cases.draw_episode(case, device)
    gc.collect()
    before = measuring.restart_peak(device)
    if phase == "train":
        cases.train_step(network, episode)
    elif implementation == "usual":
        cases.evaluate_images(network, episode)
    else:
        cases.evaluate_stored(network, cases.build_store(network, episode), episode)
    return measuring.peak_bytes(device) - before


def measure_memory(case: Case, phase: str, threads: int) -> dict[str, int]:
    """Return `episode_bytes` of each implementation, measured in a process of its own."""
    peaks = {}
    for implementation in IMPLEMENTATIONS:
        case_json = json.dumps([case, implementation, phase])
        flags = ["--threads", str(threads), "--held", case_json]
        peaks[implementation] = int(run_again(__file__, flags, f"{case.name}, {implementation}, {phase}"))
    return peaks


def time_pairs(queries: int, channels: int, turns: int, device: torch.device) -> dict[str, list[float]]:
    """Time LWFM-SPM's metric without a backbone; return seconds per turn for each implementation."""
    torch.manual_seed(0)
    metric = lwfm.LayerwiseMatching((channels, channels))
    usual = PairwiseMetric((channels, channels))
    usual.load_state_dict(metric.state_dict())
    support = [torch.rand(1, 5, 1, channels, 3, 3, device=device) for _ in range(2)]
    query = [torch.rand(1, queries, channels, 3, 3, device=device) for _ in range(2)]
    with torch.no_grad():
        calls = {
            "usual": partial(usual.to(device), support, query),
            "raysearch": partial(metric.to(device), support, query),
        }
        difference = cases.largest_difference(calls["usual"]()[0], calls["raysearch"]()[0])
        if not difference <= TOLERANCE:
            raise SystemExit(
                f"pairs of LWFM-SPM: logits differ by {difference}; compare PairwiseMetric with LayerwiseMatching"
            )
        return measuring.alternate(calls, turns, device, warm_up=2)


def time_assignments(count: int, turns: int, device: torch.device) -> dict[str, list[float]]:
    """Time `assign` and the loop over scipy, which have to find the same; return seconds per turn for each."""
    cost = torch.rand(count, 9, 9, generator=torch.Generator().manual_seed(0)).to(device)
    if not torch.equal(spm.assign(cost), scipy_loop(cost)):
        raise SystemExit("assign and scipy differ; compare spm.assign with scipy_loop")
    calls = {"usual": partial(scipy_loop, cost), "raysearch": partial(spm.assign, cost)}
    return measuring.alternate(calls, turns, device, warm_up=2)


def scipy_loop(cost: Tensor) -> Tensor:
    """Solve the assignments (B, n, n) one after the other; return the column of each row (B, n)."""
    columns = [linear_sum_assignment(problem)[1] for problem in cost.cpu().numpy()]
    return torch.from_numpy(np.stack(columns)).to(cost.device)


def print_speeds(label: str, seconds: dict[str, list[float]], unit: str = "ms") -> measuring.Ratio:
    """Print a row of the table, and return its ratio.

    Args:
        label: first column.
        seconds: implementation -> seconds per turn.
        unit: "ms" or "episodes/s".
    """
    speedup = measuring.ratio(seconds["usual"], seconds["raysearch"])
    medians = [median(seconds[implementation]) for implementation in IMPLEMENTATIONS]
    cells = [f"{1 / value:10.3g}" if unit == "episodes/s" else f"{1000 * value:10.4g}" for value in medians]
    print(f"{label:42} {unit:>10} {cells[0]} {cells[1]}   {speedup}", flush=True)
    return speedup


def print_bytes(label: str, peaks: dict[str, int]) -> float:
    """Print a row of the table, and return the ratio of the implementations' bytes."""
    saving = peaks["usual"] / max(1, peaks["raysearch"])
    mib = [peaks[implementation] / 2**20 for implementation in IMPLEMENTATIONS]
    print(f"{label:42} {'MiB':>10} {mib[0]:10.0f} {mib[1]:10.0f}   {saving:.3g} times", flush=True)
    return saving


def figures(name: str, speedup: measuring.Ratio) -> dict[str, float]:
    """Return a ratio and its spread as entries of the JSON line."""
    return {name: speedup.median, f"{name}_lowest": speedup.lowest, f"{name}_highest": speedup.highest}


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="Conv-4 on 32 pixels, and one query per class")
    parser.add_argument("--threads", type=int, default=1, help=measuring.THREADS)
    parser.add_argument("--turns", type=int, default=3, help="turns of both implementations")
    parser.add_argument("--only", nargs="*", metavar="CASE", help="more cases, such as lwfm_resnet12_1shot")
    parser.add_argument("--held", help=HIDDEN)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.held:
        fields, implementation, phase = json.loads(arguments.held)
        print(episode_bytes(Case(*fields), implementation, phase, device))
        return
    selected = QUICK if arguments.quick else GPU if device.type == "cuda" else CPU
    if arguments.only is not None:
        names = [case.name for case in selected]
        unknown = set(arguments.only) - set(names)
        if unknown:
            parser.error(f"--only: no case {sorted(unknown)}; choose from {names}")
        selected = [case for case in selected if case is selected[0] or case.name in arguments.only]
    queries, channels = QUICK_PAIRS if arguments.quick else PAIRS
    count = QUICK_ASSIGNMENTS if arguments.quick else ASSIGNMENTS

    print(measuring.machine(device))
    print(f"{'':42} {'':>10} {'usual':>10} {'raysearch':>10}   usual / raysearch")
    pair_speed = print_speeds("lwfm, pairs alone", time_pairs(queries, channels, max(7, arguments.turns), device))
    assign_speed = print_speeds(
        f"{count} assignments of 9 x 9", time_assignments(count, max(7, arguments.turns), device)
    )
    ratios: dict[str, float] = {}
    details: dict[str, Any] = {}
    for case in selected:
        label = f"{case.method}, {case.backbone}, {case.shots}-shot, {WAYS * case.queries} queries"
        timed = time_case(case, arguments.turns, device)
        for phase in ("eval", "train"):
            speed = print_speeds(f"{label}, {phase}", timed[phase], "episodes/s")
            ratios |= figures(f"{case.name}_{phase}_speed", speed)
            if not arguments.quick or (case is selected[0] and phase == "eval"):
                timed[f"{phase}_bytes"] = measure_memory(case, phase, arguments.threads)
                ratios[f"{case.name}_{phase}_memory"] = print_bytes(f"{label}, {phase}", timed[f"{phase}_bytes"])
        details[case.name] = {"case": case._asdict(), **timed}
    first = selected[0].name
    print_figures(
        {
            "helix_eval_speed": ratios[f"{first}_eval_speed"],
            "helix_eval_memory": ratios[f"{first}_eval_memory"],
            **figures("lwfm_pair_speed", pair_speed),
            **figures("assign_speed", assign_speed),
            **ratios,
            "device": device.type,
            "cases": details,
        }
    )


if __name__ == "__main__":
    main()
