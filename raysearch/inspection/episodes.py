"""Episodes as a trained few-shot network sees them: which class it gives each query, and with what score.

Episodes are those that the run was judged by, fixed by seed and index, so that every variant shows the same ones, and
that what is shown can be held against the number of queries named right that the cell has on record.

Legend: `W` ways, `K` shots, `Q` queries of a class, `C` channels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from raysearch.data.episodes import Episodes
from raysearch.data.feed import ImageSet
from raysearch.models.fewshot import EpisodicNetwork, Maps
from raysearch.tasks.common.loader import Loader
from raysearch.tasks.fewshot import evaluation


@dataclass(frozen=True)
class Answers:
    """What a network says of an episode.

    >>> logits = np.log([[[3.0, 1.0]], [[4.0, 1.0]]])
    >>> answers = Answers(0, np.array([[8], [9]]), np.array([[2], [3]]), np.array([4, 7]), logits)
    >>> answers.scores.round(2).tolist(), answers.right.tolist()
    ([[[0.75, 0.25]], [[0.8, 0.2]]], [[True], [False]])
    """

    index: int  # of the episode
    support: np.ndarray  # (W, K) rows of the split
    query: np.ndarray  # (W, Q) likewise
    classes: np.ndarray  # (W,) labels of the ways
    logits: np.ndarray  # (W, Q, W) float64

    @property
    def scores(self) -> np.ndarray:
        """Softmax of the logits over the ways: (W, Q, W). They order the classes; nothing calibrates them."""
        powers = np.exp(self.logits - self.logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    @property
    def predicted(self) -> np.ndarray:
        """The way that each query is given: (W, Q); of equal logits the first."""
        return self.logits.argmax(-1)

    @property
    def right(self) -> np.ndarray:
        """(W, Q) bool."""
        return self.predicted == np.arange(len(self.logits))[:, None]

    def rival(self, way: int, query: int) -> int:
        """The wrong class that a query resembles most."""
        logits = self.logits[way, query].copy()
        logits[way] = -np.inf
        return int(logits.argmax())


@dataclass(frozen=True)
class EpisodeForward:
    """An episode in a network: its answers, and the maps that they come from."""

    answers: Answers
    support: Maps  # a tap each: (W, K, C, h, w)
    query: Maps  # (W, Q, C, h, w)


@torch.no_grad()
def see(
    network: EpisodicNetwork, images: ImageSet, drawn: Episodes, index: int, device: torch.device | None = None
) -> EpisodeForward:
    """Show an episode to a network.

    Args:
        network: trained; it is left in evaluation mode.
        images: of the split that the episodes are of.
        drawn: the episodes.
        index: which of them.
        device: where the network is; a CPU when left out.
    """
    network.eval()
    device = device or torch.device("cpu")
    support, query = drawn.draw(index)
    store = evaluation.MapStore(network, images.subset(_only(images, support, query)), Loader(device), "auto")
    where = {row: place for place, row in enumerate(np.unique(np.concatenate([support.ravel(), query.ravel()])))}
    maps = [store.maps(torch.from_numpy(np.vectorize(where.__getitem__)(rows))) for rows in (support, query)]
    with evaluation.autocast(device, "auto"):
        compared = network.head([one[None] for one in maps[0]], [one.flatten(0, 1)[None] for one in maps[1]])
    logits = compared.logits[0].double().cpu().numpy().reshape(*query.shape, -1)
    return EpisodeForward(Answers(index, support, query, images.labels[support[:, 0]], logits), *maps)


def different(answers: Iterable[Answers], recorded: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Where an episode did not come out as it is on record.

    Args:
        answers: computed here.
        recorded: the queries named right in each episode, from the first one on.

    Returns:
        Of each episode that differs: (named right here, on record).
    """
    found = {one.index: (int(one.right.sum()), int(recorded[one.index])) for one in answers}
    return {index: pair for index, pair in found.items() if pair[0] != pair[1]}


def most_different(
    variant: Sequence[int], reference: Sequence[int], count: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The episodes in which two variants differ most, by the queries that each named right.

    Args:
        variant: of each episode.
        reference: likewise.
        count: how many are wanted each way.

    Returns:
        Those that speak most for the variant, and those that speak most for the reference: (episode, difference) with
        the largest difference first, of equals the first episode; without those that differ the other way or not.

    >>> most_different([5, 3, 4, 4], [1, 4, 4, 2], count=1)
    ([(0, 4)], [(1, -1)])
    """
    deltas = np.asarray(variant, dtype=np.int64) - np.asarray(reference, dtype=np.int64)
    ups, downs = (np.argsort(-sign * deltas, kind="stable")[:count].tolist() for sign in (1, -1))
    return [(at, int(deltas[at])) for at in ups if deltas[at] > 0], [
        (at, int(deltas[at])) for at in downs if deltas[at] < 0
    ]


def _only(images: ImageSet, *rows: np.ndarray) -> np.ndarray:
    """Which images are among the rows: (n,) bool."""
    keep = np.zeros(len(images), dtype=bool)
    for some in rows:
        keep[some] = True
    return keep
