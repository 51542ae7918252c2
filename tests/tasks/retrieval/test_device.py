"""What a GPU would show: one conversion of weights per step, codes by one path, shared evaluation, sizes by memory.

bfloat16 on the CPU stands in for a GPU's, and the meta device for its queue.
"""

import gc
import threading
import weakref
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from raysearch.data.feed import DeviceImages, ImageSet
from raysearch.models.hashing.encoder import signs
from raysearch.studies.configs import TrainConfig
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.common import Loader
from raysearch.tasks.retrieval import encoding, views
from raysearch.tasks.retrieval import network as networks
from raysearch.tasks.retrieval.encoding import ImageEncoder
from raysearch.testing import METHODS, count_syncs, measure_syncs, on_meta

from . import small_runs
from .small_runs import PIXELS, make

CPU = torch.device("cpu")


def compute_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "autocast", lambda device, precision: torch.autocast("cpu", dtype=torch.bfloat16))


class Conversions(TorchDispatchMode):
    """Counts the conversions of tensors of some addresses to bfloat16."""

    def __init__(self, tensors: dict[int, str]) -> None:
        super().__init__()
        self.tensors = tensors
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and (kwargs or {}).get("dtype") is torch.bfloat16:
            name = self.tensors.get(args[0].data_ptr())
            self.counts.update([name] if name else [])
        return func(*args, **(kwargs or {}))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("mask_pass", "expected"), [("anchor", 1), ("separate", 2)])
def test_a_step_converts_each_weight_once(
    mask_pass: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass without gradients converts for itself: weights converted there would never get a gradient."""
    compute_in_bfloat16(monkeypatch)
    change = {"train.samples": 4, "train.batch": 4, "train.epochs": 1, "srem.mask_pass": mask_pass}
    task = make(tmp_path, PIXELS, change)
    weights = {weight.data_ptr(): name for name, weight in task.network.backbone.named_parameters()}
    before = {name: weight.clone() for name, weight in task.network.named_parameters()}
    with Conversions(weights) as conversions:
        task.advance()
    assert conversions.counts["body.block.0.weight"] == expected
    for name, weight in task.network.named_parameters():
        assert not torch.equal(weight, before[name]), name


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("change", [{"hash.method": "hashnet"}, {"adsh.outputs": "fresh"}])
def test_an_image_has_the_same_code_in_the_database_and_as_a_query(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_in_bfloat16(monkeypatch)
    task = make(tmp_path, PIXELS, change, train=small_runs.image_set([70, 50, 80]))
    task.advance()
    rows = torch.arange(len(task.train))
    outputs = task._pixels.encode(rows)
    assert torch.equal(signs(outputs), task._encode(task.train))
    with torch.no_grad():
        full = task.network.eval()(task.train.batch(rows, CPU)).z
    torch.testing.assert_close(outputs, full, rtol=1e-5, atol=1e-6)  # bfloat16 would be off by 1e-2


@pytest.mark.parametrize("count", [1, 5, 12, 13, 31])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_workers_share_the_images_and_get_the_numbers_of_a_single_one(
    count: int, world_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "sum", lambda self, tensor: tensor)
    images = small_runs.image_set([count])
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    seen: list[int] = []

    def function(taken: Tensor) -> Tensor:
        seen.append(len(taken))
        return taken.flatten(1)[:, :4] * taken.sum()  # depends on the batch, as the order of sums does

    def compute(rank: int, size: int) -> Tensor:
        feed = Feed(images, images, "hash")
        worker = Worker(feed, Path(), rank=rank, world_size=size)
        return ImageEncoder(Loader(CPU), worker, "float32").vectors(function, 4, images, rows, 3)

    whole = compute(0, 1)
    assert sum(seen) == count
    seen.clear()
    parts = [compute(rank, world_size) for rank in range(world_size)]
    assert sum(seen) == count, "an image was computed twice"
    assert torch.equal(torch.stack(parts).sum(0), whole)


@pytest.mark.parametrize(("free", "largest"), [(None, 5), (1 << 20, 16), (1 << 26, 128), (1 << 40, 300)])
def test_a_gpu_takes_as_many_images_at_once_as_its_memory_holds(free: int | None, largest: int) -> None:
    images = ImageSet(np.zeros((300, 12, 12, 3), np.uint8), np.zeros(300, np.int64))
    loader = Loader(CPU)
    loader.free_memory = lambda: free  # type: ignore[method-assign]
    seen: list[int] = []

    def function(taken: Tensor) -> Tensor:
        seen.append(len(taken))
        return taken[:, 0, 0, :1]

    encoder = ImageEncoder(loader, Worker(Feed(images, images, "hash"), Path()), "auto")
    encoder.vectors(function, 1, images, torch.arange(300), batch=5)
    assert max(seen) == largest
    assert sum(seen) == 300


def test_a_gpu_s_weights_are_updated_in_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(networks, "SGD", lambda groups, **options: given.append(options["fused"]))
    for device in ("cuda", "cpu"):
        weight = SimpleNamespace(device=torch.device(device))
        network: Any = SimpleNamespace(parameters=lambda weight=weight: iter([weight]), new_layers=list)
        networks.build_optimizer(network, TrainConfig())
    assert given == [True, None]


@pytest.mark.parametrize("method", ["FCAENet", "ExchNet", "HashNet"])
def test_images_that_do_not_fit_the_gpu_make_no_step_wait(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeviceImages, "hold", lambda self, pixels, device, room, user: None)
    figures = measure_syncs(METHODS[method])
    assert figures.per_step == 0, figures.places
    assert figures.per_epoch <= 2, figures.places


@pytest.mark.usefixtures("tiny_taps")
def test_float32_covers_training_and_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every convolution, forward and backward, runs inside the context that makes float32 exact."""
    entered: list[str] = []
    inside: list[bool] = []

    class Context:
        def __init__(self, device: torch.device, precision: str) -> None:
            entered.append(precision)

        def __enter__(self) -> None:
            inside.append(True)

        def __exit__(self, *_: object) -> None:
            inside.pop()

    class Convolutions(TorchDispatchMode):
        outside = 0
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "convolution" in str(func) and len(args[0]) > 1:  # not the zeros that show ExchNet's shapes
                Convolutions.total += 1
                Convolutions.outside += not inside
            return func(*args, **(kwargs or {}))

    from raysearch.tasks.retrieval import task as task_module

    for module in (encoding, views, task_module):
        monkeypatch.setattr(module, "exact_float32", Context)
    for change in ({**PIXELS, "data.validation": 0.3}, {**small_runs.WARM, **PIXELS}, {"hash.method": "exchnet"}):
        with Convolutions():
            task = make(tmp_path, change, {"train.precision": "float32"})
            small_runs.finish(task)
    assert Convolutions.total > 0
    assert Convolutions.outside == 0
    assert set(entered) == {"float32"}


def test_a_failing_step_ends_the_thread_that_loads_ahead_and_frees_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeviceImages, "hold", lambda self, pixels, device, room, user: None)
    original = views.PixelViews.forward
    steps = iter(range(9))

    def forward(self: views.PixelViews, batch: views.Batch, *inputs: Tensor) -> views.Outputs:
        outputs = original(self, batch, *inputs)
        if next(steps) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. A stand-in.")
        return outputs

    monkeypatch.setattr(views.PixelViews, "forward", forward)
    gc.collect()
    gc.disable()
    try:
        task = on_meta("retrieval", METHODS["FCAENet"].sized(steps=4).settings)
        references = [weakref.ref(part) for part in (task, task.network, task.loader)]  # type: ignore[attr-defined]
        with count_syncs(), pytest.raises(torch.OutOfMemoryError):
            task.advance()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("images")]
        del task
        assert [reference() for reference in references] == [None] * 3
    finally:
        gc.enable()
