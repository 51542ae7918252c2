"""The three-term loss against the negative logarithm of softmax, image by image."""

import math

import pytest
import torch
from torch import Tensor

from raysearch.models.lwfm_loss import Classified, lwfm_loss


def classified(seed: int, *shape: int) -> Classified:
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()
    return Classified(scores, torch.randint(shape[-1], shape[:-1], generator=draw))


def slow(some: Classified) -> float:
    losses = []
    for scores, label in zip(some.scores.flatten(0, -2).tolist(), some.labels.flatten().tolist(), strict=True):
        losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[label])
    return sum(losses) / len(losses)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.5])
def test_loops(weight: float) -> None:
    episode, queries, batch = classified(0, 2, 6, 5), classified(1, 2, 6, 20), classified(2, 8, 20)
    loss = lwfm_loss(episode, queries, batch, weight).loss
    assert loss.shape == ()
    assert loss.item() == pytest.approx(weight * slow(episode) + slow(queries) + slow(batch), rel=1e-12)
    loss.backward()
    for some, share in ((episode, weight), (queries, 1.0), (batch, 1.0)):
        wrong = some.scores.softmax(-1) - torch.nn.functional.one_hot(some.labels, some.scores.shape[-1])
        torch.testing.assert_close(some.scores.grad, share * wrong / some.labels.numel())


def test_scores_in_half_the_bits_are_computed_with_all_of_them() -> None:
    scores, labels = classified(3, 6, 4)

    def loss(dtype: torch.dtype) -> Tensor:
        narrow = Classified(scores.bfloat16().to(dtype), labels)
        return lwfm_loss(narrow, narrow, narrow, 0.5).loss

    expected = loss(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(torch.bfloat16)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, expected)
