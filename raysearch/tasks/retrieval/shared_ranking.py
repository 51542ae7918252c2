"""A ranking whose queries the workers share, so that an evaluation takes each of them a part of the time."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysearch.tasks.base import Worker
from raysearch.tasks.metrics import Ranking, merge_codes

Metric = Callable[[Ranking], NDArray[np.float64]]  # values of the distinct queries: (u,), or (u, k)


class SharedRanking:
    """Ranks a database for this worker's share of the distinct queries. All workers must build and use it together.

    A query's values depend on the query and the database alone. The means are computed from the values of all queries
    in one order, so they are the same for any number of workers, bit for bit.

    Args:
        query_codes: (m, c) in {-1, +1} of all queries, on every worker.
        query_labels: (m,).
        database_codes: (n, c) in {-1, +1}.
        database_labels: (n,).
        worker: the worker that ranks its share; the share is empty where there are more workers than queries.

    Raises:
        ValueError: as `Ranking.from_codes`.
    """

    def __init__(
        self,
        query_codes: Tensor,
        query_labels: NDArray[Any],
        database_codes: Tensor,
        database_labels: NDArray[Any],
        worker: Worker,
    ) -> None:
        queries, database, bits = merge_codes(query_codes, query_labels, database_codes, database_labels)
        self._queries = queries
        self._worker = worker
        self._share = Ranking.from_merged(queries.share(worker.rank, worker.world_size), database, bits)

    def means(self, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        """Return the mean of each metric over all queries: a float for (u,), an array (k,) for (u, k).

        Args:
            metrics: by name. They are gathered together, in one collective.
        """
        values = {name: metric(self._share) for name, metric in metrics.items()}
        table = torch.from_numpy(np.column_stack(list(values.values())))
        gathered = self._worker.gather(table, len(self._queries.codes)).numpy()
        means = {}
        end = 0
        for name, value in values.items():
            start = end
            end += 1 if value.ndim == 1 else value.shape[1]
            columns = gathered[:, start] if value.ndim == 1 else gathered[:, start:end]
            means[name] = self._queries.mean(columns)
        return means
