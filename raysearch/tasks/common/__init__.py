"""Code that all tasks share: batches on the training device, the shell of a training step, and pretrained backbones.

`pretrained_backbone` needs the registry of tasks, which needs this package; import it by its own path.
"""

from raysearch.tasks.common.loader import Loader, Prefetcher, batch_sizes, check_batches, generator
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
    "step_decay",
]
