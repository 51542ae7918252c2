"""Views of episodes' images: the seed, the episode, the side, the row and how often before decide them, no more."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from raysearch.data.feed import ImageSet
from raysearch.models.fewshot import Maps
from raysearch.tasks.base import Feed, Worker
from raysearch.tasks.common import Loader
from raysearch.tasks.fewshot.views import EpisodeStep, EpisodeViews

from .fewshot_runs import METHODS, config, feed, make

pytestmark = [pytest.mark.usefixtures("tiny_taps"), pytest.mark.filterwarnings("ignore:.*classes have fewer")]

SUPPORT = torch.tensor([[0, 5, 5, 9], [3, 3, 3, 0], [7, 8, 9, 1], [0, 5, 5, 9]])
QUERY = torch.tensor([[2, 2, 11, 12, 0, 1], [0, 3, 5, 6, 7, 8], [4, 4, 4, 4, 4, 4], [2, 2, 11, 12, 0, 1]])


def views(seed: int = 0, rank: int = 0, workers: int = 1) -> EpisodeViews:
    """Of images that are all the same, so that what differs is drawn."""
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
    same = ImageSet(image.repeat(18, axis=0), np.arange(18) // 3)
    worker = Worker(Feed(same, same, "hash"), Path(), rank=rank, world_size=workers)
    run = config(METHODS["lwfm"], {"data.augment": "crop"})
    return EpisodeViews(make(METHODS["lwfm"])._stores, same, run, seed, worker, Loader(worker.device))


def load_episodes(source: EpisodeViews, support: Tensor, query: Tensor, first: int) -> Tensor | Maps:
    """Load one step of the episodes (E, S) and (E, N) alone; each support is a way of its own."""
    (inputs,) = source.load([EpisodeStep(first, support[..., None], query[..., None], torch.arange(6))])
    return inputs.images


def load_batch(source: EpisodeViews, rows: Tensor, first: int) -> Tensor:
    (inputs,) = source.load([EpisodeStep(first, SUPPORT[..., None], QUERY[..., None], rows)])
    assert inputs.batch is not None
    return tensor(inputs.batch)


def tensor(images: Tensor | Maps) -> Tensor:
    assert isinstance(images, Tensor), "maps come from a frozen backbone"
    return images


def divided(inputs: Tensor | Maps, episodes: int) -> tuple[Tensor, Tensor]:
    """Views as (E, S, ...) and (E, N, ...)."""
    images = tensor(inputs)
    cut = episodes * SUPPORT.shape[1]
    return images[:cut].unflatten(0, (episodes, -1)), images[cut:].unflatten(0, (episodes, -1))


def alike(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, atol=1e-4)


def test_an_episode_has_its_views_in_steps_of_any_size_and_with_any_number_of_workers() -> None:
    whole = divided(load_episodes(views(), SUPPORT, QUERY, 20), 4)
    for number in range(4):
        alone = divided(load_episodes(views(), SUPPORT[[number]], QUERY[[number]], 20 + number), 1)
        assert all(torch.equal(part[0], all_of[number]) for part, all_of in zip(alone, whole, strict=True))
    for rank in range(2):
        half = divided(load_episodes(views(rank=rank, workers=2), SUPPORT, QUERY, 20), 2)
        assert all(torch.equal(part, all_of[rank::2]) for part, all_of in zip(half, whole, strict=True))


def test_more_shots_leave_the_views_of_the_others() -> None:
    five, queries = divided(load_episodes(views(), SUPPORT, QUERY, 0), 4)
    images = tensor(load_episodes(views(), SUPPORT[:, [0, 3]], QUERY, 0))
    assert torch.equal(images[:8].unflatten(0, (4, 2)), five[:, [0, 3]])
    assert torch.equal(images[8:].unflatten(0, (4, 6)), queries)


def test_one_row_has_a_view_for_each_time_side_episode_and_seed() -> None:
    support, query = divided(load_episodes(views(), SUPPORT, QUERY, 20), 4)
    batch = load_batch(views(), torch.tensor([0, 5, 0, 5, 0]), 20)
    repeated = [support[1, :3], query[2], batch]
    for several in repeated:
        assert not any(alike(several[i], several[j]) for i in range(len(several)) for j in range(i))
    assert not alike(support[0, 0], query[0, 4])  # row 0 on either side
    assert not alike(support[0, 0], batch[0])
    assert not any(map(alike, support[0], support[3]))  # episodes of the same rows
    assert not any(
        map(alike, support.flatten(0, 1), divided(load_episodes(views(1), SUPPORT, QUERY, 20), 4)[0].flatten(0, 1))
    )


def test_workers_share_an_ordinary_batch_with_its_repeated_rows() -> None:
    rows = torch.tensor([4, 4, 4, 1, 4, 2])
    whole, other = load_batch(views(), rows, 8), load_batch(views(), rows, 9)
    for rank in range(2):
        assert torch.equal(load_batch(views(rank=rank, workers=2), rows, 8), whole[rank::2])
    assert not any(map(alike, whole, other))


def test_the_images_of_a_run_are_its_rows() -> None:
    task = make(METHODS["lwfm"], {"data.augment": "none"})
    images = tensor(load_episodes(task._views, SUPPORT, QUERY, 0))
    rows = torch.cat([SUPPORT.flatten(), QUERY.flatten()])
    assert torch.equal(images, feed().train.batch(rows, torch.device("cpu")))
