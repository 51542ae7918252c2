"""Random views: what decides them, torchvision's own numbers image by image, and the distribution of what is drawn."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from raysearch.data import synthetic
from raysearch.data.feed import MEAN, STD, ImageSet, augment, draw_views, normalize, occurrences
from raysearch.data.feed.augmentation import _crop_batch
from raysearch.testing import count_syncs

CPU = torch.device("cpu")
KINDS = ["flip", "crop", "colour"]
COUNT = 20_000


@pytest.fixture(scope="module")
def birds() -> ImageSet:
    """Drawn birds of 48 pixels, a picture with edges and flat parts."""
    spec = synthetic.SyntheticSpec(side=48, classes=8, train_per_class=2, test_per_class=1)
    drawn = [image for split, _, _, image in synthetic.draw_images(spec) if split == "train"]
    return ImageSet(np.stack(drawn), np.arange(len(drawn)))


def draw(how: str, rows: Tensor, size: tuple[int, int] = (12, 16), key: tuple[int, ...] = (0,)) -> Tensor:
    return draw_views(how, rows, size, key)


def scaled(birds: ImageSet) -> Tensor:
    """Pixels (n, 3, H, W) from 0 to 1, as torchvision's functions take them."""
    return functional.to_dtype(torch.from_numpy(birds.images).permute(0, 3, 1, 2), torch.float32, scale=True)


def same(views: Tensor, pixels: Tensor, limit: float) -> None:
    """Normalised views against pixels from 0 to 1."""
    torch.testing.assert_close(
        views, functional.normalize(pixels, list(MEAN), list(STD)), rtol=0, atol=limit / min(STD)
    )


# ---------------------------------------------------------------------------------------------- what decides a view


@pytest.mark.parametrize("how", KINDS)
def test_a_row_s_draws_do_not_depend_on_batch_order_or_share(how: str) -> None:
    rows = torch.arange(100, 160)
    whole, generator = draw(how, rows), torch.Generator().manual_seed(0)
    for _ in range(20):
        size = int(torch.randint(1, 60, (), generator=generator))
        subset = torch.randperm(60, generator=generator)[:size]
        assert torch.equal(draw(how, rows[subset]), whole[subset])
        for workers in (2, 3):
            for rank in range(workers):
                assert torch.equal(draw(how, rows[subset][rank::workers]), whole[subset][rank::workers])
    assert torch.equal(draw(how, torch.tensor([104, 104])), whole[[4, 4]])


@pytest.mark.parametrize("how", KINDS)
def test_other_keys_rows_and_times_have_other_draws(how: str) -> None:
    rows, others = torch.arange(400), torch.ones(400, dtype=torch.int64)
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0)]
    views = [draw(how, rows, key=key) for key in keys] + [draw(how, rows + 400)]
    views += [draw_views(how, rows, (12, 16), (0, 0, 0), apart) for apart in ([others], [others, others])]
    for first, second in combinations(views, 2):
        differ = float((first != second).any(1).double().mean())
        assert 0.35 < differ < 0.65 if how == "flip" else differ > 0.95
    zeros = torch.zeros_like(rows)
    assert torch.equal(draw_views(how, rows, (12, 16), (0, 0, 0), [zeros, zeros]), views[0]), "the first time"


@pytest.mark.parametrize("how", ["none", *KINDS])
def test_part_of_a_batch_has_its_views_bit_for_bit(how: str) -> None:
    batch = torch.randint(256, (37, 12, 16, 3), dtype=torch.uint8)
    drawn = draw(how, torch.arange(37))
    whole = augment(batch, drawn)
    for workers in (1, 2, 3, 5, 37):
        for rank in range(workers):
            assert torch.equal(augment(batch[rank::workers], drawn[rank::workers]), whole[rank::workers])
    assert whole.shape == (37, 3, 12, 16)
    assert whole.is_contiguous(memory_format=torch.channels_last)


def test_none_is_nothing() -> None:
    batch = torch.randint(256, (4, 8, 8, 3), dtype=torch.uint8)
    assert torch.equal(augment(batch, draw("none", torch.arange(4))), normalize(batch))


def test_occurrences_count_what_came_before() -> None:
    rows = torch.randint(5, (3, 2, 12), generator=torch.Generator().manual_seed(0))
    counted = occurrences(rows)
    for row, count in zip(rows.flatten(0, 1).tolist(), counted.flatten(0, 1).tolist(), strict=True):
        assert count == [row[:place].count(one) for place, one in enumerate(row)]


# ---------------------------------------------------------------------------------- torchvision's own, one by one


def test_mirrors_are_torchvision_s(birds: ImageSet) -> None:
    rows, batch = torch.arange(len(birds)), birds.batch(torch.arange(len(birds)), CPU)
    drawn = draw("flip", rows)
    assert 0 < drawn.sum() < len(birds)
    views = augment(birds.take(rows, CPU), drawn)
    assert torch.equal(views, normalize(_crop_batch(birds.take(rows, CPU), drawn)))
    for image, view, (mirrored,) in zip(batch, views, drawn.tolist(), strict=True):
        assert torch.equal(view, functional.horizontal_flip(image) if mirrored else image)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("shape", [(48, 48), (30, 44)])
def test_crops_are_torchvision_s(birds: ImageSet, antialias: bool, shape: tuple[int, int]) -> None:
    """They are never smaller than their box, so antialiasing changes nothing."""
    height, width = shape
    cut = ImageSet(np.ascontiguousarray(birds.images[:, :height, :width]), birds.labels)
    rows = torch.arange(4 * len(cut))
    drawn = draw("crop", rows, shape)
    drawn[0] = torch.tensor([0, 0, 0, width, height])  # the whole image
    drawn[1] = torch.tensor([1, 3, 5, 4, 6])  # a pixel
    taken = cut.take(rows % len(cut), CPU)
    views, together = augment(taken, drawn), _crop_batch(taken, drawn)
    for place, (mirrored, left, top, right, bottom) in enumerate(drawn.int().tolist()):
        box, image = (top, left, bottom - top, right - left), taken[place].permute(2, 0, 1)
        crop = functional.resized_crop(image, *box, size=list(shape), antialias=antialias)
        crop = functional.horizontal_flip(crop) if mirrored else crop
        # its kernels for bytes with and without antialiasing round differently, as does a GPU's
        assert (together[place].permute(2, 0, 1).int() - crop.int()).abs().max() <= 1
        if antialias:
            assert torch.equal(views[place], normalize(crop.permute(1, 2, 0)[None])[0])
        same(views[place], functional.to_dtype(crop, torch.float32, scale=True), 1.01 / 255)


def test_colours_are_torchvision_s_in_either_order(birds: ImageSet) -> None:
    rows = torch.arange(4 * len(birds)) % len(birds)
    drawn = draw("colour", torch.arange(len(rows)))
    extremes = torch.tensor([[0.8, 1.2, 0], [0.8, 1.2, 1], [1.2, 0.8, 1], [3.0, 5.0, 0], [3.0, 5.0, 1], [1, 1, 0]])
    drawn[:6, 1:] = extremes  # beyond what is drawn, pixels leave their range and are cut
    views, cut = augment(birds.take(rows, CPU), drawn), 0
    for image, view, (mirrored, *factors, contrast_first) in zip(
        scaled(birds)[rows], views, drawn.tolist(), strict=True
    ):
        steps = list(zip((functional.adjust_brightness, functional.adjust_contrast), factors, strict=True))
        for adjust, factor in steps[::-1] if contrast_first else steps:
            image = adjust(image, factor)
        cut += int(((image == 0) | (image == 1)).sum())
        same(view, functional.horizontal_flip(image) if mirrored else image, 1e-5)
    assert cut > 500
    assert 0.3 < drawn[:, 3].mean() < 0.7


# ------------------------------------------------------------------------------------- the distribution of draws


@pytest.mark.parametrize("how", KINDS)
def test_one_image_in_two_is_mirrored(how: str) -> None:
    mirrored = draw(how, torch.arange(COUNT))[:, 0]
    assert set(mirrored.tolist()) == {0.0, 1.0}
    assert stats.binomtest(int(mirrored.sum()), COUNT).pvalue > 0.01
    assert stats.binomtest(int((mirrored[1:] == mirrored[:-1]).sum()), COUNT - 1).pvalue > 0.01  # independently


def test_factors_are_uniform_and_independent() -> None:
    drawn = draw("colour", torch.arange(COUNT)).double()
    for factors in drawn[:, 1:3].T:
        assert stats.kstest((factors - 0.8) / 0.4, "uniform").pvalue > 0.01
    assert stats.binomtest(int(drawn[:, 3].sum()), COUNT).pvalue > 0.01
    assert torch.corrcoef(drawn.T).triu(1).abs().max() < 4 / COUNT**0.5


@pytest.mark.parametrize(("height", "width"), [(84, 84), (96, 40), (40, 96)])
def test_boxes_are_distributed_as_torchvision_s(height: int, width: int) -> None:
    """In the two oblong sizes some of torchvision's first boxes do not fit, and it draws again."""
    left, top, right, bottom = draw("crop", torch.arange(COUNT), (height, width))[:, 1:].double().T
    torch.manual_seed(0)
    image, crop = torch.empty(3, height, width), v2.RandomResizedCrop(size=(height, width))
    theirs = {name: np.empty(COUNT // 2) for name in ("top", "left", "height", "width")}
    for place in range(COUNT // 2):
        for name, value in crop.make_params([image]).items():
            theirs[name][place] = value
    ours = {"top": top, "left": left, "height": bottom - top, "width": right - left}
    for edge, most in ((right, width), (bottom, height)):
        assert edge.max() <= most
        assert torch.equal(edge, edge.round())
    assert min(left.min(), top.min()) >= 0
    for name in ours:
        assert stats.ks_2samp(ours[name].numpy(), theirs[name]).pvalue > 0.01, name
    shares = [one["height"] * one["width"] / (height * width) for one in (ours, theirs)]
    ratios = [one["width"] / one["height"] for one in (ours, theirs)]
    levels = np.linspace(0, 1, 21)
    for first, second in (shares, ratios):
        np.testing.assert_allclose(np.quantile(first, levels)[1:-1], np.quantile(second, levels)[1:-1], atol=0.03)


def test_where_no_box_fits_it_is_the_middle() -> None:
    """Of an image ten times as wide as high, hardly a tenth of the boxes fits."""
    drawn = draw("crop", torch.arange(4000), (12, 120))[:, 1:]
    middle = (drawn == torch.tensor([52.0, 0, 68, 12])).all(1).double().mean()
    torch.manual_seed(0)
    image, crop = torch.empty(3, 12, 120), v2.RandomResizedCrop(size=12)
    params = [crop.make_params([image]) for _ in range(4000)]
    theirs = np.mean([one == {"top": 0, "left": 52, "height": 12, "width": 16} for one in params])
    assert middle > 0.1
    assert abs(float(middle) - theirs) < 4 * (0.5 / 4000) ** 0.5


@pytest.mark.parametrize("how", ["flip", "crop", "colour"])
def test_no_view_copies_anything_to_the_device(how: str) -> None:
    meta = torch.device("meta")
    taken = torch.zeros(3, 16, 16, 3, dtype=torch.uint8, device=meta)
    drawn = draw_views(how, torch.arange(3), (16, 16), (0, 1))
    augment(taken, drawn.to(meta))  # constants are copied once per device
    with count_syncs() as counter:
        augment(taken, drawn.to(meta, non_blocking=True))
    assert counter.count == 0
    with pytest.raises(RuntimeError, match="device"):
        augment(taken, drawn)
