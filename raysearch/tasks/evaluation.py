"""The figures of a retrieval: queries of the test split, and of the held-out part, against the database's codes."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from raysearch.data.images import ImageSet
from raysearch.tasks.metrics import mean_average_precision

TIES = {"map": "expected", "map_index": "index", "map_best_ties": "best", "map_worst_ties": "worst"}
Encode = Callable[[ImageSet], Tensor]  # images to codes (m, c) in {-1, +1}


class Judge:
    """What a retrieval is judged by.

    Args:
        database: the images that are found; their codes come with each question.
        test: queries of the end.
        held_out: queries of the way there; may be empty.
    """

    metric_ids: ClassVar = {
        "map": "map@all/expected-ties/test",
        "map_index": "map@all/index-order/test",
        "map_best_ties": "map@all/relevant-first/test",
        "map_worst_ties": "map@all/relevant-last/test",
        "map_validation": "map@all/expected-ties/validation",  # where data.validation holds a part out
    }

    def __init__(self, database: ImageSet, test: ImageSet, held_out: ImageSet) -> None:
        self._labels = torch.from_numpy(database.labels)
        self._test, self._held_out = test, held_out

    def validate(self, encode: Encode, codes: Tensor) -> dict[str, float]:
        """`map_validation`, where a part is held out."""
        if not len(self._held_out):
            return {}
        return {"map_validation": self._map(encode(self._held_out), self._held_out.labels, codes, "expected")}

    def evaluate(self, encode: Encode, codes: Tensor) -> dict[str, float]:
        """The metrics of `metric_ids`.

        Args:
            encode: of queries.
            codes: (n, c) of the database.
        """
        queries = encode(self._test)
        metrics = {name: self._map(queries, self._test.labels, codes, ties) for name, ties in TIES.items()}
        return metrics | self.validate(encode, codes)

    def describe(self, codes: Tensor) -> dict[str, float]:
        """What the codes look like: distinct ones a class."""
        both = torch.cat([codes, self._labels[:, None].to(codes)], dim=1)
        return {"codes_per_class": len(torch.unique(both, dim=0)) / len(torch.unique(self._labels))}

    def _map(self, queries: Tensor, labels: np.ndarray, codes: Tensor, ties: str) -> float:
        return mean_average_precision(queries, torch.from_numpy(labels), codes.cpu(), self._labels, ties)


def signs(outputs: Tensor) -> Tensor:
    """Codes (m, c) in {-1, +1} of outputs (m, c); a zero counts as +1."""
    return torch.where(outputs >= 0, 1.0, -1.0)
