"""Selective region erasing module (SREM) of FCAENet, arXiv 2110.04479, equations 3 to 5 and algorithm 1.

The channel mean of the last feature map, brought to image size, says where the network looks. The `regions` highest
pixels become the top-left corners of square boxes that are erased, so that the network must find other evidence.

The paper loops over regions; here all boxes of a batch are drawn at once by a separable max filter over a one-hot map
of corners, which erases the same pixels. Departures: a constant map erases nothing (the paper does not say), and
options the paper does not have: `grid` ranks on a coarser map, `center` puts the box around the peak, `ties` and
`align_corners` settle what it leaves open.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-8


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
    """Say which pixels stay.

    Args:
        features: (B, C, h, w) feature map of the images, any float dtype.
        image_size: (H, W) in pixels.
        regions: boxes an image; 0 erases nothing.
        size: side of a box in pixels.
        grid: rank positions on a (grid, grid) map instead of the (H, W) one.
        center: put the box around the selected pixel instead of below and right of it.
        ties: which of equal positions come first: in reading order, or as `topk` yields them.
        align_corners: of the bilinear upsampling.

    Returns:
        (B, 1, H, W) float: 1 keep, 0 erased. No gradient.

    Raises:
        ValueError: a box larger than the image, or more regions than positions.

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
    keep = torch.ones(len(features), 1, height, width, device=features.device)
    if regions == 0:
        return keep
    corners = _corners(_activation(features, (rows, columns), align_corners), regions, size, ties)
    if grid:
        coarse = corners
        corners = torch.zeros_like(keep)
        row = torch.arange(rows, device=features.device) * height // rows
        column = torch.arange(columns, device=features.device) * width // columns
        corners[:, :, row[:, None], column] = coarse
    # A pixel is erased when a corner lies in the size x size window that ends at it (or is centred on it).
    before = size - 1 - size // 2 if center else size - 1
    after = size - 1 - before
    erased = functional.pad(corners, (before, after, before, after))
    erased = functional.max_pool2d(erased, (1, size), stride=1)
    erased = functional.max_pool2d(erased, (size, 1), stride=1)
    # Asked of the features: the mean and the resizing of a constant map differ in their last bits.
    varied = (features != features[..., :1, :1]).flatten(1).any(1)
    return torch.where(varied.view(-1, 1, 1, 1), keep - erased, keep)


def _activation(features: Tensor, shape: tuple[int, int], align_corners: bool) -> Tensor:
    """Channel mean of the features, brought to a shape and to 0..1: (B, 1, rows, columns), equations 3 and 4."""
    mean = features.to(torch.promote_types(features.dtype, torch.float32)).mean(1, keepdim=True)
    activation = functional.interpolate(mean, shape, mode="bilinear", align_corners=align_corners)
    low, high = activation.amin((1, 2, 3), keepdim=True), activation.amax((1, 2, 3), keepdim=True)
    return (activation - low) / (high - low + EPSILON)


def _corners(activation: Tensor, regions: int, size: int, ties: str) -> Tensor:
    """Map (B, 1, rows, columns) with 1 at the `regions` highest positions.

    The paper ranks the map padded with zeros right and below. The minimum is zero too, so on a map with few positive
    values a pick may fall on the padding and erase nothing: kept, to be the same as the paper's loop.
    """
    padded = functional.pad(activation, (0, size, 0, size))
    flat = padded.flatten(1)
    highest = flat.topk(regions, dim=1)
    if ties == "any":
        selected = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, highest.indices, True)
    else:
        # Bilinear borders are flat, so ties are common at an edge: all above the last value, then the first equals.
        last = highest.values[:, -1:]
        above, equal = flat > last, flat == last
        room = regions - above.sum(1, keepdim=True)
        selected = above | (equal & (equal.cumsum(1) <= room))
    return selected.view_as(padded)[..., : activation.shape[2], : activation.shape[3]].float()
