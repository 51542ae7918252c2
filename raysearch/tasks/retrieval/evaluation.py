"""The metrics of retrieval: queries of the test split, and of the held-out part, against the codes of the database.

Several workers share the queries: see `shared_ranking`.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from raysearch.data.feed import ImageSet
from raysearch.models.hashing.packed import pack
from raysearch.studies.configs.user.metrics import UserMetric
from raysearch.tasks import metric_definitions
from raysearch.tasks.base import Worker
from raysearch.tasks.metrics import ClassCodes, Database, class_ids, found_average_precision, hamming_metrics
from raysearch.tasks.retrieval.shared_ranking import Metric, SharedRanking
from raysearch.tasks.user import compute_on_first, explain_user_error, plain_numbers

Encode = Callable[[ImageSet], Tensor]  # images to codes (m, c) in {-1, +1}
# Each is a mean over the queries.
_METRICS: dict[str, Metric] = {
    "map": hamming_metrics.average_precision,
    "map_index": partial(hamming_metrics.average_precision, ties="index"),
    "map_best_ties": partial(hamming_metrics.average_precision, ties="best"),
    "map_worst_ties": partial(hamming_metrics.average_precision, ties="worst"),
    "map_at_100": partial(hamming_metrics.average_precision, k=metric_definitions.CUT),
    "map_at_100_found": partial(found_average_precision, k=metric_definitions.CUT),
    "r_precision": hamming_metrics.r_precision,
    "lookup_success": partial(hamming_metrics.lookup_success, radius=metric_definitions.RADIUS),
}
_CURVES: dict[str, Metric] = {
    "precision": hamming_metrics.precision_by_radius,
    "recall": hamming_metrics.recall_by_radius,
}


class RetrievalEvaluator:
    """Evaluates codes of a database; the queries are fixed. All workers must call `validate` and `evaluate` together.

    Args:
        database: images that are retrieved. Their codes come with each call.
        test: queries of the final evaluation.
        held_out: queries of the evaluation during training; may be empty.
        worker: ranks the database for its share of the queries.
        user_metrics: metrics of the user's own.
    """

    def __init__(
        self,
        database: ImageSet,
        test: ImageSet,
        held_out: ImageSet,
        worker: Worker,
        user_metrics: Sequence[UserMetric] = (),
    ) -> None:
        self._worker = worker
        self._user_metrics = user_metrics
        self._labels = database.labels
        self._test = test
        self._held_out = held_out

    @property
    def metric_steps(self) -> dict[str, float]:
        """The smallest change of each metric that counts: one query, right or wrong.

        Average precision takes many values. But where the images of a class share a code it is near one or near zero,
        so a mean over n queries changes in steps of about 1 / n.
        """
        steps = {name: 1 / len(self._test) for name in _METRICS if len(self._test)}
        return steps | ({"map_validation": 1 / len(self._held_out)} if len(self._held_out) else {})

    def validate(self, encode: Encode, codes: Tensor) -> dict[str, float]:
        """Return `map_validation`; nothing where no part is held out.

        Args:
            encode: the encoder of queries.
            codes: (n, c) of the database.
        """
        if not len(self._held_out):
            return {}
        ranking = self._rank(encode(self._held_out), self._held_out, codes)
        return ranking.means({"map_validation": hamming_metrics.average_precision})

    def evaluate(self, encode: Encode, codes: Tensor) -> dict[str, Any]:
        """Return the metrics of `metric_ids`, those of `describe`, and precision and recall by Hamming radius as JSON.

        Args:
            encode: the encoder of queries.
            codes: (n, c) of the database.
        """
        query_codes = encode(self._test)
        means = self._rank(query_codes, self._test, codes).means(_METRICS | _CURVES)
        curves = {name: means.pop(name).round(6).tolist() for name in _CURVES}
        if self._user_metrics:  # they take all codes, so the queries cannot be shared
            means |= compute_on_first(lambda: self._compute_user_metrics(query_codes, codes), self._worker)
        return means | self.validate(encode, codes) | self.describe(codes) | {"by_radius": json.dumps(curves)}

    def describe(self, codes: Tensor) -> dict[str, float]:
        """Describe the database's codes (n, c): distinct codes per class, and distances between classes in bits."""
        (classes,), count = class_ids(self._labels)
        summary = ClassCodes.from_database(Database.from_codes(pack(codes), classes, count))
        return {
            "codes_per_class": summary.codes_per_class,
            "class_codes": float(summary.distinct),
            "class_distance": summary.least_distance,
            "mean_class_distance": summary.mean_least_distance,
        }

    def _compute_user_metrics(self, query_codes: Tensor, codes: Tensor) -> dict[str, float]:
        """Return the user's metrics of codes in {-1, +1}, which they get on the CPU.

        Raises:
            UserError: a metric returned no number.
            Exception: as the user's code raised it, with the line of the user's file in its message.
        """
        arguments = query_codes.cpu(), torch.from_numpy(self._test.labels), codes.cpu(), torch.from_numpy(self._labels)
        values: dict[str, float] = {}
        for metric in self._user_metrics:
            try:
                value = metric.compute(*arguments)
            except Exception as error:
                raise explain_user_error(error) from error
            values |= plain_numbers({metric.name: value}, metric.code.reference)
        return values

    def _rank(self, query_codes: Tensor, queries: ImageSet, codes: Tensor) -> SharedRanking:
        return SharedRanking(query_codes, queries.labels, codes, self._labels, self._worker)
