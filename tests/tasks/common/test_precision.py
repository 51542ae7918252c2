"""The precision of a run: which one a device computes in, and that float32 is float32 where it was asked for.

No GPU is needed: `torch.device("cuda")` names one, and stand-ins answer for its capability.
"""

import pytest
import torch

from raysearch.core import UserError
from raysearch.tasks.common import autocast, exact_float32, free_memory, items_at_once, memory, resolve_precision

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)


def use_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")


@pytest.mark.parametrize(
    ("capability", "auto"), [((7, 0), "float32"), ((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")]
)
def test_a_gpu_computes_in_bfloat16_from_capability_8(
    capability: tuple[int, int], auto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_gpu(monkeypatch, capability)
    assert resolve_precision(GPU, "auto") == auto
    assert resolve_precision(GPU, "float32") == "float32"


def test_bfloat16_that_was_asked_for_is_never_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    use_gpu(monkeypatch, (7, 5))
    with pytest.raises(UserError, match=r"Tesla T4 does not compute in bfloat16; set train\.precision=float32"):
        autocast(GPU, "bfloat16")
    use_gpu(monkeypatch, (8, 9))
    assert resolve_precision(GPU, "bfloat16") == "bfloat16"
    with autocast(CPU, "bfloat16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_cpu_computes_in_float32(precision: str) -> None:
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def settings() -> tuple[str, str]:
    return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def test_float32_is_float32_inside_the_context_and_what_it_was_after() -> None:
    before = settings()
    assert before[0] != "ieee", "torch's default changed: the context may not be needed"
    with exact_float32(GPU, "float32"):
        assert settings() == ("ieee", "ieee")
    assert settings() == before
    with pytest.raises(ZeroDivisionError), exact_float32(GPU, "float32"):
        raise ZeroDivisionError
    assert settings() == before
    for device, precision in ((GPU, "auto"), (GPU, "bfloat16"), (CPU, "float32")):
        with exact_float32(device, precision):
            assert settings() == before


def test_the_memory_of_a_share_is_that_share(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_memory(CPU) is None
    gib = 1 << 30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10 * gib)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 15 * gib)
    assert memory.free_memory(GPU) == 25 * gib  # with what torch holds unused
    assert memory.free_memory(GPU, 0.25) == 10 * gib
    assert memory.free_memory(GPU, 0.1) == 0


def test_items_follow_from_memory_within_limits() -> None:
    gib = 1 << 30
    assert items_at_once(None, 1, default=77, limits=(1, 9)) == 77
    assert items_at_once(4 * gib, gib // 100, default=77, limits=(16, 4096)) == 64
    assert items_at_once(0, gib, default=77, limits=(16, 4096)) == 16
    assert items_at_once(400 * gib, 1000, default=77, limits=(16, 4096)) == 4096
    counts = [items_at_once(free * gib, 1 << 20, default=1, limits=(1, 1 << 20)) for free in range(1, 80)]
    assert counts == sorted(counts)
    assert all(count.bit_count() == 1 for count in counts)
