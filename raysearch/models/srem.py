"""Selective region erasing module (SREM) of FCAENet, arXiv 2110.04479, equations 3 to 5 and algorithm 1.

The channel mean of the last feature map, resized to the image, shows where the network looks. The `regions` highest
pixels become the top-left corners of square boxes that are erased, so that the network must find other evidence.

The paper sorts all pixels and loops over regions. Here only the pixels of promising stretches are ranked, and all boxes
of a batch are drawn at once by a separable max filter over a one-hot map of corners; this erases the same pixels.
Departures: a constant map erases nothing (the paper leaves this open). Some options are not in the paper: `grid` ranks
on a coarser map, `center` centers the box on the peak, `ties` and `align_corners` decide what the paper leaves open.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-8
_ROUNDING = 16  # units in the last place by which resized means of equal values may differ
_STRETCH = 32  # positions; 1,568 stretches of an image and then 50 * 32 candidates are ranked, not 50,176 pixels


@torch.no_grad()
def erase_mask(
    features: Tensor,
    image_size: tuple[int, int],
    regions: int = 50,
    size: int = 32,
    *,
    grid: int | None = None,
    center: bool = False,
    ties: Literal["raster", "any"] = "raster",
    align_corners: bool = False,
) -> Tensor:
    """Return the mask of the pixels that stay.

    Args:
        features: (B, C, h, w) feature map of the images, any float dtype.
        image_size: (H, W) in pixels.
        regions: number of boxes per image; 0 erases nothing.
        size: side of a box in pixels.
        grid: rank positions on a (grid, grid) map instead of the (H, W) one.
        center: center the box on the selected pixel instead of extending it below and right.
        ties: order of equal positions: reading order, or the order of `topk`.
        align_corners: corner alignment of the bilinear upsampling.

    Returns:
        (B, 1, H, W) float: 1 keep, 0 erased. No gradient.

    Raises:
        ValueError: a box larger than the image, a grid finer than the image, or more regions than positions.

    >>> peak = torch.zeros(1, 1, 4, 4); peak[0, 0, 1, 1] = 1.0
    >>> erase_mask(peak, (4, 4), regions=1, size=2)[0, 0].int().tolist()
    [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    height, width = image_size
    rows, columns = (grid, grid) if grid else (height, width)
    if rows > height or columns > width:
        raise ValueError(f"srem.grid={grid} is finer than the image of {height}x{width} pixels")
    if not 1 <= size <= min(height, width):
        raise ValueError(f"srem.size={size} does not fit an image of {height}x{width} pixels")
    if not 0 <= regions <= rows * columns:
        raise ValueError(
            f"srem.regions={regions} does not fit the {rows * columns} positions of a {rows}x{columns} map"
        )
    if regions == 0:
        return torch.ones(len(features), 1, height, width, device=features.device)
    # The upsampled map has no name here: on a CPU the mask then reuses its memory, which is in the cache.
    row, column, chosen = _corners(
        _activation(features, (rows, columns), align_corners), _noise(features), regions, size, ties
    )
    if grid:
        row = row * height // rows
        column = column * width // columns
    # A pixel is erased when a corner is in the size x size window that ends at it (or is centered on it).
    before = size - 1 - size // 2 if center else size - 1
    erased = torch.zeros(len(features), height + size - 1, width + size - 1, dtype=torch.uint8, device=features.device)
    place = (row + before) * erased.shape[2] + before + column
    erased.flatten(1).scatter_(1, place.flatten(1), chosen.flatten(1).byte())
    erased = _window_max(_window_max(erased, 1, size), 2, size)
    return (1 - erased)[:, None].float()


@torch.no_grad()
def activation_map(features: Tensor, image_size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Return where the network looks: each image's map scaled to 0..1, equations 3 and 4; a constant map is 0.

    Args:
        features: (B, C, h, w) feature map of the images, any float dtype.
        image_size: (H, W) in pixels.
        align_corners: corner alignment of the bilinear upsampling.

    Returns:
        (B, H, W) float. No gradient.

    >>> activation_map(torch.tensor([[[[1.0, 3.0]]]]), (1, 2)).tolist()
    [[[0.0, 1.0]]]
    """
    activation = _activation(features, image_size, align_corners)[:, 0]
    low = activation.amin((1, 2), keepdim=True)
    high = activation.amax((1, 2), keepdim=True)
    return torch.where(high - low > _noise(features)[..., None], (activation - low) / (high - low + EPSILON), 0.0)


def _activation(features: Tensor, shape: tuple[int, int], align_corners: bool) -> Tensor:
    """Return the channel mean of the features, resized to a shape: (B, 1, rows, columns), equation 3."""
    mean = features.to(torch.promote_types(features.dtype, torch.float32)).mean(1, keepdim=True)
    return functional.interpolate(mean, shape, mode="bilinear", align_corners=align_corners)


def _noise(features: Tensor) -> Tensor:
    """Return the variation by rounding of a constant map's upsampled mean, which must not be ranked: (B, 1)."""
    mean = features[..., 0, 0].to(torch.promote_types(features.dtype, torch.float32)).abs().mean(1, keepdim=True)
    return _ROUNDING * torch.finfo(mean.dtype).eps * mean


def _corners(activation: Tensor, noise: Tensor, regions: int, size: int, ties: str) -> tuple[Tensor, Tensor, Tensor]:
    """Find the `regions` highest positions.

    A row of the map is cut into stretches of w positions. The `regions` highest positions are in the m = `regions`
    stretches with the highest maxima, so few values are ranked. They are ranked as equation 4 gives them, which rounds
    some to one.

    The paper ranks the map padded with zeros right and below. The minimum is zero too, so on a map with few positive
    values the padding may be picked and nothing erased. This is the same here, to agree with the paper's loop.

    Returns:
        Candidates: row (B, m, 1) and column (B, m, w); and which of them are the highest (B, m, w).
    """
    batch = len(activation)
    columns = activation.shape[3]
    stretch = math.gcd(columns, _STRETCH)
    stretches = activation.reshape(batch, -1, stretch)
    maxima = stretches.amax(2)
    low = stretches.amin((1, 2))[:, None]
    high = maxima.amax(1, keepdim=True)
    scale = high - low + EPSILON
    count = min(regions, maxima.shape[1])
    taken = _first_of_highest((maxima - low) / scale, count, ties).cumsum(1)
    ranks = torch.arange(1, count + 1, device=taken.device).repeat(batch, 1)
    index = torch.searchsorted(taken, ranks).clamp_(max=maxima.shape[1] - 1)[..., None]  # NaN: nothing is taken
    values = (stretches.gather(1, index.expand(-1, -1, stretch)).flatten(1) - low) / scale
    across = columns // stretch
    row = index // across
    column = index % across * stretch + torch.arange(stretch, device=index.device)
    # Zeros of the padding, `size` at the end of each row above, come before the zeros of the map.
    before = torch.where(values == 0, (row * size).expand_as(column).flatten(1), 0)
    chosen = _first_of_highest(values, regions, ties, before) & (high - low > noise)
    return row, column, chosen.view_as(column)


def _first_of_highest(values: Tensor, count: int, ties: str, skipped: Tensor | int = 0) -> Tensor:
    """Return which of the values (B, m) are the `count` highest; of equal ones the first, after `skipped` others."""
    highest = values.topk(count, dim=1)
    if ties == "any":
        return torch.zeros_like(values, dtype=torch.bool).scatter_(1, highest.indices, True)
    # Bilinear borders are flat, so ties are common at an edge: take all above the last value, then the first equals.
    last = highest.values[:, -1:]
    above = values > last
    equal = values == last
    room = count - above.sum(1, keepdim=True)
    return above | (equal & (equal.cumsum(1) + skipped <= room))


def _window_max(maps: Tensor, dim: int, size: int) -> Tensor:
    """Return the maximum over windows of `size` along a dimension of 0-1 maps, which gets shorter by `size` - 1.

    Windows are doubled, which takes log2(size) passes.
    """
    reach = 1
    while reach < size:
        step = min(reach, size - reach)
        length = maps.shape[dim] - step
        maps = maps.narrow(dim, 0, length) | maps.narrow(dim, step, length)
        reach += step
    return maps
