"""Episodes under a trained few-shot network: the class that it predicts for each query, and the scores.

The episodes are the ones that the run was evaluated on, fixed by seed and index. So every variant shows the same
episodes, and the predictions can be checked against the number of correct queries that the cell recorded.

Legend: `W` ways, `K` shots, `Q` queries of a class, `C` channels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from raysearch.data.episodes import Episodes
from raysearch.data.feed import ImageSet
from raysearch.models.fewshot import EpisodicNetwork, Maps
from raysearch.tasks.common import Loader, autocast
from raysearch.tasks.fewshot import evaluation


@dataclass(frozen=True)
class EpisodePredictions:
    """The predictions of a network in one episode.

    >>> logits = np.log([[[3.0, 1.0]], [[4.0, 1.0]]])
    >>> predictions = EpisodePredictions(0, np.array([[8], [9]]), np.array([[2], [3]]), np.array([4, 7]), logits)
    >>> predictions.scores.round(2).tolist(), predictions.correct.tolist()
    ([[[0.75, 0.25]], [[0.8, 0.2]]], [[True], [False]])
    """

    index: int  # of the episode
    support: np.ndarray  # (W, K) rows of the split
    query: np.ndarray  # (W, Q) rows of the split
    classes: np.ndarray  # (W,) labels of the ways
    logits: np.ndarray  # (W, Q, W) float64

    @property
    def scores(self) -> np.ndarray:
        """Softmax of the logits over the ways: (W, Q, W). Scores rank the classes; they are not calibrated."""
        powers = np.exp(self.logits - self.logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    @property
    def predicted(self) -> np.ndarray:
        """The predicted way of each query: (W, Q); the first of equal logits."""
        return self.logits.argmax(-1)

    @property
    def correct(self) -> np.ndarray:
        """Whether each query's prediction is correct: (W, Q) bool."""
        return self.predicted == np.arange(len(self.logits))[:, None]

    def rival(self, way: int, query: int) -> int:
        """Return the wrong way with the highest logit for a query of `way`."""
        logits = self.logits[way, query].copy()
        logits[way] = -np.inf
        return int(logits.argmax())


@dataclass(frozen=True)
class EpisodeForward:
    """One episode passed through a network: the predictions and the feature maps behind them."""

    predictions: EpisodePredictions
    support: Maps  # one per tap: (W, K, C, h, w)
    query: Maps  # one per tap: (W, Q, C, h, w)


@torch.no_grad()
def inspect_episode(
    network: EpisodicNetwork,
    images: ImageSet,
    episodes: Episodes,
    index: int,
    device: torch.device | None = None,
    precision: str = "auto",
) -> EpisodeForward:
    """Pass one episode through a network.

    Args:
        network: trained; it is left in evaluation mode.
        images: the images of the split that the episodes are drawn from.
        episodes: the episodes.
        index: the index of the episode to pass.
        device: the device of the network; the CPU by default.
        precision: `train.precision` of the network's config.
    """
    network.eval()
    device = device or torch.device("cpu")
    support, query = episodes.draw(index)
    used = np.unique(np.concatenate([support.ravel(), query.ravel()]))
    store = evaluation.MapStore(network, images.subset(_mask(images, used)), Loader(device), precision)
    position = {row: place for place, row in enumerate(used)}
    maps = [store.maps(torch.from_numpy(np.vectorize(position.__getitem__)(rows))) for rows in (support, query)]
    with autocast(device, precision):
        output = network.head([tap[None] for tap in maps[0]], [tap.flatten(0, 1)[None] for tap in maps[1]])
    logits = output.logits[0].double().cpu().numpy().reshape(*query.shape, -1)
    return EpisodeForward(EpisodePredictions(index, support, query, images.labels[support[:, 0]], logits), *maps)


def changed_episodes(predictions: Iterable[EpisodePredictions], recorded: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Find the episodes whose number of correct queries differs from the record.

    Args:
        predictions: computed now.
        recorded: correct queries of each episode, from episode 0 on.

    Returns:
        Episode -> (correct queries now, correct queries on record), for each episode that differs.
    """
    counts = {episode.index: (int(episode.correct.sum()), int(recorded[episode.index])) for episode in predictions}
    return {index: (now, before) for index, (now, before) in counts.items() if now != before}


def most_different_episodes(
    variant: Sequence[int], reference: Sequence[int], count: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Find the episodes in which two variants differ most in their number of correct queries.

    Args:
        variant: correct queries of each episode.
        reference: correct queries of each episode.
        count: number of episodes to return for each direction.

    Returns:
        The episodes that favor the variant and those that favor the reference, as (episode, difference). The largest
        difference comes first, and of equal differences the first episode. Episodes that favor the other side, or
        neither, are left out.

    >>> most_different_episodes([5, 3, 4, 4], [1, 4, 4, 2], count=1)
    ([(0, 4)], [(1, -1)])
    """
    deltas = np.asarray(variant, dtype=np.int64) - np.asarray(reference, dtype=np.int64)
    highest = np.argsort(-deltas, kind="stable")[:count].tolist()
    lowest = np.argsort(deltas, kind="stable")[:count].tolist()
    favor_variant = [(episode, int(deltas[episode])) for episode in highest if deltas[episode] > 0]
    favor_reference = [(episode, int(deltas[episode])) for episode in lowest if deltas[episode] < 0]
    return favor_variant, favor_reference


def _mask(images: ImageSet, rows: np.ndarray) -> np.ndarray:
    """Mark the images at rows: (n,) bool."""
    mask = np.zeros(len(images), dtype=bool)
    mask[rows] = True
    return mask
