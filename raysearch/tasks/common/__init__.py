"""Code that all tasks share: batches on the training device, its memory and precision, and the shell of a step."""

from raysearch.tasks.common.holdout import check_classes, hold_out
from raysearch.tasks.common.loader import Loader, Prefetcher, batch_sizes, check_batches, generator, seed_step
from raysearch.tasks.common.memory import free_memory, items_at_once
from raysearch.tasks.common.precision import autocast, exact_float32, resolve_precision
from raysearch.tasks.common.tensor_cache import cached
from raysearch.tasks.common.training import BestState, StepMeter, check_finite, copied, step_decay

__all__ = [
    "BestState",
    "Loader",
    "Prefetcher",
    "StepMeter",
    "autocast",
    "batch_sizes",
    "cached",
    "check_batches",
    "check_classes",
    "check_finite",
    "copied",
    "exact_float32",
    "free_memory",
    "generator",
    "hold_out",
    "items_at_once",
    "resolve_precision",
    "seed_step",
    "step_decay",
]
