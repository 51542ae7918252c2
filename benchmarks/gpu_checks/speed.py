"""Speed on a GPU: a training step, few-shot episodes, and images of a resident set, each against a baseline."""

import statistics
from functools import partial
from typing import Any

import fewshot
import measuring
import numpy as np
import torch
import train_step
from baselines import step_baselines as baselines
from gpu_checks.outcomes import Result, Setting
from pairwise.cases import Case

from raysearch.data.feed import STD, DeviceImages, ImageSet, augment, draw_views
from raysearch.tasks.common import Loader

LEAST_OVER_BARE = 0.9  # images per second of the product's step / of a bare ResNet-50
LEAST_OVER_HANDWRITTEN = 1.3
SHORT_PAPER = baselines.PAPER._replace(steps=8, turns=4)  # a minute on a GPU
CASES = [
    Case("helix", "conv4", 1, 15),
    Case("lwfm", "conv4", 1, 15),
    Case("lwfm", "resnet12", 5, 15),
    Case("helix", "resnet12", 5, 15),
]
CASE_SECONDS = 25.0  # of a case, on a GPU
BATCH = 64
MOST_LEVELS = 1.5  # of 255; a crop may round a byte the other way


def check_step(setting: Setting) -> Result:
    """Time the product's training step, feed included, against a bare ResNet-50 and a hand-written step.

    Returns:
        `step_over_bare` and `step_over_handwritten` (ratios of images per second), and the figures of `train_step`.
    """
    gpu_setup = baselines.QUICK_GPU if setting.quick else SHORT_PAPER
    setup = gpu_setup if setting.on_gpu else baselines.QUICK_CPU
    measured = train_step.measure(setup, setting.device, compiled=False)
    figures = {
        "step_over_bare": measured["raysearch_over_bare"],
        "step_over_handwritten": measured["raysearch_over_written"],
        "step_over_three_passes": measured["raysearch_over_three_passes"],
        "step_over_computation": measured["raysearch_over_computation"],
        "step": measured,
    }
    problems = []
    if setting.on_gpu and not setting.quick:
        for name, least in (("step_over_bare", LEAST_OVER_BARE), ("step_over_handwritten", LEAST_OVER_HANDWRITTEN)):
            if not figures[name] >= least:
                problems.append(f"{name} is {figures[name]:.3g}, below {least}")
    return Result(figures, problems)


def check_episodes(setting: Setting) -> Result:
    """Time HelixFormer and LWFM-SPM against networks that lay out every pair of images; logits have to agree.

    Returns:
        `<case>_<phase>_speed`, the ratio of seconds, for as many cases as there is time for.
    """
    figures: dict[str, Any] = {}
    problems = []
    for case in fewshot.QUICK if setting.quick else CASES:
        if setting.left < CASE_SECONDS:
            break
        timed = fewshot.time_case(case, turns=3, device=setting.device)
        for phase in ("train", "eval"):
            seconds = timed[phase]
            speedup = measuring.ratio(seconds["usual"], seconds["raysearch"])
            figures[f"{case.name}_{phase}_speed"] = speedup.median
            figures[f"{case.name}_{phase}_ms"] = 1000 * statistics.median(seconds["raysearch"])
            if setting.on_gpu and not setting.quick and speedup.median < 1:
                problems.append(f"{case.name}, {phase}: {speedup.median:.3g} times the speed of all pairs laid out")
    return Result(figures, problems)


def check_images(setting: Setting) -> Result:
    """Load flipped and cropped batches of images that stay on the device, and of images that are copied ahead.

    Returns:
        `<views>_<where>_images_per_second`, and `<views>_<where>_difference`, the largest one of a pixel to a CPU, in
        levels of 255.
    """
    side, count, batches = (32, 256, 4) if setting.quick else (224, 4096, 64)
    pixels = np.random.default_rng(0).integers(256, size=(count, side, side, 3), dtype=np.uint8)
    images = ImageSet(pixels, np.zeros(count, np.int64))
    figures: dict[str, Any] = {}
    problems = []
    for views in ("flip", "crop"):
        load = partial(_load_batches, images, views)
        expected = load(Loader(torch.device("cpu")), 1)
        for where, held in (("resident", DeviceImages()), ("copied_ahead", None)):
            loader = Loader(setting.device, held)
            load(loader, 1)
            loader.waited()  # ends a step, whose need of memory is then known: images that fit stay from here on
            seconds = measuring.alternate({views: partial(load, loader, batches)}, 3, setting.device)[views]
            figures[f"{views}_{where}_images_per_second"] = batches * BATCH / statistics.median(seconds)
            apart = (load(loader, 1).float().cpu() - expected).abs().max().item() * 255 * max(STD)
            figures[f"{views}_{where}_difference"] = apart
            if not apart <= MOST_LEVELS:
                problems.append(f"{views}, {where}: a pixel differs by {apart:.1f} levels from a CPU's")
    return Result(figures, problems)


def _load_batches(images: ImageSet, views: str, loader: Loader, batches: int) -> torch.Tensor:
    """Load a number of batches in a random order, as an epoch of a task does; return the last one."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: batches * BATCH]
    (drawn,) = loader.upload(draw_views(views, order, (images.side, images.side), (0, 1)))
    for taken, drawn_rows in zip(loader.batches(images, order.split(BATCH)), drawn.split(BATCH), strict=True):
        last = augment(taken, drawn_rows)
    return last
