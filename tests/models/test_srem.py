"""SREM against the paper's loop: rank the zero-padded map, erase box after box, crop."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from raysearch.models.srem import erase_mask


def ranking_map(features: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """(B, H, W) normalised maps. The dtype stays, or other rounding would give other ties."""
    mean = sum(features[:, k] for k in range(features.shape[1])) / features.shape[1]
    up = interpolate(mean[:, None], shape, mode="bilinear", align_corners=False)[:, 0].numpy()
    low = up.min((1, 2), keepdims=True)
    high = up.max((1, 2), keepdims=True)
    return (up - low) / (high - low + up.dtype.type(1e-8))


def loop_mask(
    features: Tensor,
    image_size: tuple[int, int],
    regions: int,
    size: int,
    grid: int | None = None,
    center: bool = False,
) -> Tensor:
    height, width = image_size
    shape = (grid, grid) if grid else image_size
    masks = []
    for normalised in ranking_map(features, shape):
        mask = np.ones((height + size, width + size))
        padded = np.zeros((shape[0] + size, shape[1] + size), normalised.dtype)
        padded[: shape[0], : shape[1]] = normalised
        order = np.argsort(-padded, axis=None, kind="stable")
        for position in order[:regions] if normalised.max() > 0 else []:
            i, j = divmod(int(position), padded.shape[1])
            i = i * height // shape[0]
            j = j * width // shape[1]
            if center:
                i = i - size // 2
                j = j - size // 2
            mask[max(i, 0) : max(i + size, 0), max(j, 0) : max(j + size, 0)] = 0
        masks.append(mask[:height, :width])
    return torch.from_numpy(np.stack(masks))[:, None]


def random_maps(seed: int, batch: int = 3, channels: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(batch, channels, 7, 7, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_same(mask: Tensor, expected: Tensor) -> None:
    assert mask.shape == expected.shape
    assert mask.is_floating_point()
    assert not mask.requires_grad
    assert torch.equal(mask.double(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("regions", [1, 10, 50, 150])
@pytest.mark.parametrize(("side", "size"), [(28, 1), (28, 9), (28, 28), (56, 16), (84, 32), (112, 32), (112, 112)])
def test_random_maps(side: int, size: int, regions: int, dtype: torch.dtype) -> None:
    features = random_maps(side + regions, dtype=dtype)
    assert_same(erase_mask(features, (side, side), regions, size), loop_mask(features, (side, side), regions, size))


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("regions", [1, 10, 50, 150])
@pytest.mark.parametrize(("side", "size"), [(28, 1), (28, 4), (28, 28), (56, 16)])
def test_tied_maps(side: int, size: int, regions: int, levels: int) -> None:
    # One channel of small integers: every value is exact, so ties are ties, and flat stretches span whole cells.
    draw = torch.Generator().manual_seed(levels)
    coarse = torch.randint(levels, (4, 1, 7, 7), generator=draw).float()
    fine = torch.randint(levels, (2, 1, side, side), generator=draw).float()
    for features in (coarse, fine):
        assert_same(erase_mask(features, (side, side), regions, size), loop_mask(features, (side, side), regions, size))


@pytest.mark.parametrize("regions", [1, 10, 50, 150])
@pytest.mark.parametrize("corner", [(0, 0), (0, 6), (6, 0), (6, 6)])
def test_peak_in_a_corner_with_fewer_positive_pixels_than_regions(corner: tuple[int, int], regions: int) -> None:
    # 36 pixels of 28 x 28 are positive. Past them the loop picks zeros in raster order, those in the padding too.
    features = torch.zeros(1, 1, 7, 7)
    features[0, 0, corner[0], corner[1]] = 1
    for size in (1, 5, 28):
        assert_same(erase_mask(features, (28, 28), regions, size), loop_mask(features, (28, 28), regions, size))


def test_padding_uses_up_picks() -> None:
    # By hand: one positive pixel, then row 0 of the padded map is 4 zeros of the image and 2 of the padding.
    features = torch.zeros(1, 1, 4, 4)
    features[0, 0, 3, 3] = 1
    first_row = erase_mask(features, (4, 4), regions=7, size=2)[0, 0]
    assert first_row.int().tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]
    next_row = erase_mask(features, (4, 4), regions=8, size=2)[0, 0]
    assert next_row.int().tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 0]]


@pytest.mark.parametrize(
    ("peak", "rows", "columns"),
    [
        ((0, 0), (0, 3), (0, 3)),
        ((0, 9), (0, 3), (9, 10)),
        ((9, 0), (9, 10), (0, 3)),
        ((9, 9), (9, 10), (9, 10)),
        ((4, 2), (4, 7), (2, 5)),
    ],
)
def test_the_box_hangs_below_and_right_of_the_peak(peak, rows, columns) -> None:
    features = torch.zeros(1, 1, 10, 10)
    features[0, 0, peak[0], peak[1]] = 1
    expected = torch.ones(1, 1, 10, 10, dtype=torch.float64)
    expected[..., slice(*rows), slice(*columns)] = 0
    assert_same(erase_mask(features, (10, 10), regions=1, size=3), expected)


def test_upsampling_leaves_flat_borders() -> None:
    # align_corners=False: the outer half of a border cell is flat, here 2 x 2 pixels, and ties go in raster order.
    features = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    for regions, erased in enumerate([[], [(0, 0)], [(0, 0), (0, 1)], [(0, 0), (0, 1), (1, 0)]]):
        mask = erase_mask(features, (8, 8), regions, size=1)[0, 0]
        assert [tuple(p) for p in (mask == 0).nonzero().tolist()] == erased


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("side", [28, 56, 112])
@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 0.1, 0.3, 0.7])
def test_a_constant_map_erases_nothing(value: float, side: int, dtype: torch.dtype) -> None:
    # Upsampling rounds, so the upsampled map of 0.1 is not quite constant; the noise must not be ranked.
    features = random_maps(0, batch=3, dtype=dtype)
    features[1] = value
    mask = erase_mask(features, (side, side), regions=50, size=16)
    assert (mask[1] == 1).all()
    assert (mask[0] == 0).any()
    assert (mask[2] == 0).any()


@pytest.mark.parametrize("channels", [1, 3, 100, 2048])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_channels_that_are_each_constant_erase_nothing(channels: int, layout: torch.memory_format) -> None:
    # Sums over many channels come out differently at different positions, most of all where they nearly cancel.
    values = torch.randn(32, channels, 1, 1, generator=torch.Generator().manual_seed(12))
    values -= values.mean(1, keepdim=True) if channels > 1 else 0
    features = values.expand(-1, -1, 7, 7).contiguous(memory_format=layout)
    assert (erase_mask(features, (56, 56), 50, 8) == 1).all()
    features[:, 0, 3, 3] += 1e-2 * channels
    assert (erase_mask(features, (56, 56), 50, 8) == 0).flatten(1).any(1).all()


def test_a_map_that_holds_nan_erases_nothing_and_leaves_the_others_alone() -> None:
    features = random_maps(13)
    expected = erase_mask(features, (56, 56), 50, 16)
    features[1] = float("nan")
    expected[1] = 1
    assert torch.equal(erase_mask(features, (56, 56), 50, 16), expected)


def test_no_regions_erase_nothing() -> None:
    assert_same(erase_mask(random_maps(1), (28, 28), regions=0, size=4), torch.ones(3, 1, 28, 28, dtype=torch.float64))


def test_images_that_are_not_square() -> None:
    features = torch.rand(2, 3, 4, 7, generator=torch.Generator().manual_seed(3))
    for shape in ((28, 49), (64, 33)):
        assert_same(erase_mask(features, shape, 20, 6), loop_mask(features, shape, 20, 6))


def test_every_image_has_its_own_mask_and_channels_are_averaged() -> None:
    features = random_maps(4, batch=6)
    together = erase_mask(features, (56, 56), 50, 16)
    for k in range(6):
        alone = erase_mask(features[k : k + 1].mean(1, keepdim=True), (56, 56), 50, 16)
        assert torch.equal(together[k], alone[0])


def test_no_gradient_and_no_trace_on_the_features() -> None:
    features = random_maps(5).requires_grad_()
    before = features.detach().clone()
    mask = erase_mask(features, (56, 56), 50, 16)
    assert not mask.requires_grad
    assert mask.grad_fn is None
    assert torch.equal(features, before)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("grid", [None, 56, 28, 14])
@pytest.mark.parametrize("size", [1, 7, 16, 32, 112])
def test_coarse_grid_and_centred_boxes(grid: int | None, size: int, center: bool) -> None:
    features = random_maps(6)
    for regions in (1, 10, 50):
        mask = erase_mask(features, (112, 112), regions, size, grid=grid, center=center)
        assert_same(mask, loop_mask(features, (112, 112), regions, size, grid, center))


@pytest.mark.parametrize(("size", "first"), [(3, 4), (4, 3)])
def test_a_centred_box_by_hand(size: int, first: int) -> None:
    features = torch.zeros(1, 1, 12, 12)
    features[0, 0, 5, 5] = 1
    expected = torch.ones(1, 1, 12, 12, dtype=torch.float64)
    expected[..., first : first + size, first : first + size] = 0
    assert_same(erase_mask(features, (12, 12), 1, size, center=True), expected)


@pytest.mark.parametrize("center", [False, True])
def test_more_and_larger_boxes_only_erase_more(center: bool) -> None:
    features = random_maps(7, batch=8)
    by_regions = [erase_mask(features, (84, 84), n, 16, center=center) for n in (0, 1, 2, 10, 50, 150, 1000, 84 * 84)]
    by_size = [erase_mask(features, (84, 84), 50, s, center=center) for s in (1, 2, 3, 8, 16, 33, 64, 84)]
    for masks in (by_regions, by_size):
        assert all((after <= before).all() for before, after in pairwise(masks))
        assert masks[-1].sum() < masks[0].sum()


@pytest.mark.parametrize(
    ("regions", "size", "low", "high"),
    [
        (10, 32, 0.020, 0.024),
        (50, 32, 0.029, 0.033),
        (100, 32, 0.035, 0.039),
        (150, 32, 0.042, 0.044),
        (50, 64, 0.08, 0.10),
    ],
)
def test_erased_area_at_the_size_of_the_paper(regions: int, size: int, low: float, high: float) -> None:
    # Shares noted for Gaussian 7 x 7 maps at 224 pixels; three tenths of a point are left for the draw.
    maps = torch.randn(48, 1, 7, 7, generator=torch.Generator().manual_seed(8))
    erased = 1 - erase_mask(maps, (224, 224), regions, size).mean().item()
    assert low - 0.003 < erased < high + 0.003


@pytest.mark.parametrize(("regions", "size"), [(5, 0), (5, -1), (5, 29), (-1, 4), (28 * 28 + 1, 4)])
def test_impossible_boxes_are_refused(regions: int, size: int) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        erase_mask(random_maps(9), (28, 28), regions, size)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_autocast_region_and_channels_last_erase_the_same(dtype: torch.dtype) -> None:
    # Values are few: rounding to the dtype leaves them as they are, and there are ties to get wrong.
    features = torch.randint(8, (4, 16, 7, 7), generator=torch.Generator().manual_seed(10)).to(dtype)
    last = features.contiguous(memory_format=torch.channels_last)
    assert not last.is_contiguous()
    for options in ({}, {"center": True}, {"grid": 28}):
        expected = erase_mask(features.float(), (56, 56), 50, 16, **options)
        assert torch.equal(erase_mask(features, (56, 56), 50, 16, **options), expected)
        assert torch.equal(erase_mask(last, (56, 56), 50, 16, **options), expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for inside in (features, last):
                mask = erase_mask(inside, (56, 56), 50, 16, **options)
                assert mask.dtype == torch.float32
                assert torch.equal(mask, expected)


def test_the_mask_of_real_values_is_the_same_in_either_memory_format() -> None:
    features = torch.randn(8, 128, 7, 7, generator=torch.Generator().manual_seed(11)).relu()
    last = features.contiguous(memory_format=torch.channels_last)
    expected = erase_mask(features, (56, 56), 50, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = erase_mask(features, (56, 56), 50, 16)
    assert torch.equal(inside, expected)
    assert torch.equal(erase_mask(last, (56, 56), 50, 16), expected)
