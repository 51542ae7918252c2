"""Code that all tasks share: batches on the training device, and the shell of a training step."""

from raysearch.tasks.common.loader import Loader, Prefetcher, batch_sizes, check_batches, generator, seed_step
from raysearch.tasks.common.training import BestState, StepMeter, check_finite, copied, step_decay

__all__ = [
    "BestState",
    "Loader",
    "Prefetcher",
    "StepMeter",
    "batch_sizes",
    "check_batches",
    "check_finite",
    "copied",
    "generator",
    "seed_step",
    "step_decay",
]
