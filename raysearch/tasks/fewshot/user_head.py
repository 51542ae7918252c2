"""A user's few-shot head: `forward(support (S,C,h,w), query (Q,C,h,w), support_labels (S,)) -> logits (Q, ways)`.

The head sees one episode at a time, on the maps of the backbone's last tap.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from raysearch.core import UserError, type_of
from raysearch.models.fewshot import HeadOutput, Maps
from raysearch.tasks.user import explain_user_error


class UserHead(nn.Module):
    """A user's head as a `FewShotHead`.

    Args:
        head: called with the number of channels and the options; returns the user's module.
        channels: C of the maps.
        options: further arguments of the head.

    Raises:
        UserError: the head is no module.
        Exception: as the user's code raised it.
    """

    def __init__(self, head: Callable[..., Any], channels: int, options: Mapping[str, Any]) -> None:
        super().__init__()
        try:
            module = head(channels, **options)
        except Exception as error:
            raise explain_user_error(error) from error
        if not isinstance(module, nn.Module):
            raise UserError(f"the head of model.method is {type_of(module)}, not a torch.nn.Module")
        self.head = module

    def forward(self, support: Maps, query: Maps) -> HeadOutput:
        """Score the queries of each episode.

        Args:
            support: one map per tap, (E, W, K, C, h, w).
            query: one map per tap, (E, N, C, h, w).

        Raises:
            UserError: logits of another shape.
            Exception: as the user's code raised it.
        """
        supports, queries = support[-1], query[-1]
        episodes, ways, shots = supports.shape[:3]
        labels = torch.arange(ways, device=supports.device).repeat_interleave(shots)
        scores = [self._score(supports[index].flatten(0, 1), queries[index], labels, ways) for index in range(episodes)]
        return HeadOutput(torch.stack(scores))

    def _score(self, support: Tensor, query: Tensor, labels: Tensor, ways: int) -> Tensor:
        try:
            logits = self.head(support, query, labels)
        except Exception as error:
            raise explain_user_error(error) from error
        if not isinstance(logits, Tensor) or logits.shape != (len(query), ways):
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(f"the head of model.method returned {shape}, not logits ({len(query)}, {ways})")
        return logits.float()
