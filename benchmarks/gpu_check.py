"""Check raysearch on a GPU: no leaks, no waiting, and the claimed speed, in eight minutes.

    python benchmarks/gpu_check.py [--minutes 8] [--only step leaks]
    python benchmarks/gpu_check.py --quick        # runs on a CPU too, where `meta` stands for the GPU

It needs torch, torchvision, numpy, scipy, pyarrow, pillow and pydantic; pytest for the last check; neither Ray nor an
installation of raysearch.

leaks      cells of all methods in a row: ended tasks are freed without the garbage collector, memory stays flat
waits      waits of the host per step and per epoch, counted on the `meta` device
debug      steps of all methods under torch.cuda.set_sync_debug_mode
step       ResNet-50 at 224 px: the product's own step against a bare ResNet-50, and against a hand-written loop of
           three passes; see train_step.py
episodes   HelixFormer and LWFM-SPM against every pair of images laid out; see fewshot.py
images     images per second of a resident set, and their bytes against those on a CPU
agreement  losses of all methods in float32 against those on a CPU
tests      the tests of models and tasks on the device

Each check ends as ok, failed or skipped. An exception fails its check, and the others go on. A check that does not fit
the remaining time is skipped. If a check hangs, the script ends with what it has. The last line is JSON: the ratios
first, then the figures of every check. The exit code is 1 where a check failed.
"""

import importlib
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import measuring
import torch
from gpu_checks.outcomes import Check, Outcome, Result, Runner, Setting
from script import make_parser, print_figures

# name, seconds on a GPU, and the function; each is imported when it runs, so that a missing package fails its check
CHECKS = [
    ("leaks", 30, "cells:check_leaks"),
    ("waits", 40, "waits:check_meta"),
    ("debug", 30, "waits:check_debug_mode"),
    ("step", 75, "speed:check_step"),
    ("episodes", 30, "speed:check_episodes"),
    ("images", 20, "speed:check_images"),
    ("agreement", 25, "cells:check_agreement"),
    ("tests", 60, "suite:check_tests"),
]
ALWAYS = ("leaked_tasks", "most_syncs_per_step")
ON_GPU = ("step_over_bare", "step_over_handwritten", "memory_growth_mib")


def run_check(place: str, setting: Setting) -> Result:
    """Import a check by "module:function", and run it."""
    module, function = place.split(":")
    result: Result = getattr(importlib.import_module(f"gpu_checks.{module}"), function)(setting)
    return result


def choose_checks(names: list[str] | None) -> list[Check]:
    """Return the checks of these names in their order; None for all.

    Raises:
        ValueError: an unknown name.
    """
    known = [name for name, _, _ in CHECKS]
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ValueError(f"no check {unknown}; choose from {known}")
    return [
        Check(name, seconds, lambda setting, place=place: run_check(place, setting))
        for name, seconds, place in CHECKS
        if names is None or name in names
    ]


def print_row(outcome: Outcome) -> None:
    """Print an outcome: its numbers in one row, its notes below."""
    numbers = [f"{name} {value:.4g}" for name, value in outcome.figures.items() if isinstance(value, int | float)]
    print(f"{outcome.name:10} {outcome.status:8} {outcome.seconds:6.1f} s  {', '.join(numbers)}")
    for note in outcome.notes:
        print(f"{'':10} {note}")
    sys.stdout.flush()


def summarize(outcomes: list[Outcome], setting: Setting) -> dict[str, Any]:
    """Return the JSON object: ratios that every run has, those of a GPU, the failed checks, and all figures."""
    figures = {name: value for outcome in outcomes for name, value in outcome.figures.items()}
    return {
        **{name: figures.get(name) for name in (*ALWAYS, *(ON_GPU if setting.on_gpu else ()))},
        "failed": [outcome.name for outcome in outcomes if outcome.status == "failed"],
        "device": setting.device.type,
        "quick": setting.quick,
        "machine": machine(setting.device),
        "checks": {
            outcome.name: {
                "status": outcome.status,
                "seconds": round(outcome.seconds, 1),
                "notes": list(outcome.notes),
                "figures": dict(outcome.figures),
            }
            for outcome in outcomes
        },
    }


def machine(device: torch.device) -> str:
    """Describe the machine in one line; on a GPU also its memory, its compute capability, CUDA and cuDNN."""
    line = measuring.machine(device)
    if device.type != "cuda":
        return line
    properties = torch.cuda.get_device_properties(device)
    return (
        f"{line}; {properties.total_memory / 2**30:.0f} GiB, sm_{properties.major}{properties.minor}, "
        f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    )


def main() -> None:
    """Run the checks."""
    parser = make_parser(__doc__, quick="small sizes, and a CPU where there is no GPU")
    parser.add_argument("--minutes", type=float, default=8.0, help="stop early with what there is after this time")
    parser.add_argument("--only", nargs="+", metavar="CHECK", help="run these checks only")
    parser.add_argument("--device", help="cuda or cpu; by default a GPU where there is one")
    arguments = parser.parse_args()
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cpu" and not arguments.quick:
        parser.error("no GPU was found; --quick runs on a CPU and shows only that everything works")
    try:
        checks = choose_checks(arguments.only)
    except ValueError as error:
        parser.error(f"--only: {error}")
    if importlib.util.find_spec("raysearch") is None:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if device.type == "cpu":
        torch.set_num_threads(1)  # threads that wait for each other make a busy machine slow
    setting = Setting(device, arguments.quick, time.monotonic() + 60 * arguments.minutes)
    print(machine(device), flush=True)
    runner = Runner(setting, print_row, lambda outcomes: print_figures(summarize(outcomes, setting)))
    sys.exit(runner.run(checks))


if __name__ == "__main__":
    main()
