"""LSH: the law of the angle, and a second writing."""

import math

import numpy as np
import torch

from raysearch.models import hashing


def test_loop() -> None:
    features = torch.rand(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    encoder = hashing.fit("lsh", features, None, 9)
    directions = encoder.directions.numpy()
    mean = [sum(column) / 20 for column in features.T.tolist()]
    for row, code in zip(features.tolist(), encoder(features).tolist(), strict=True):
        for bit in range(9):
            score = sum((x - m) * r for x, m, r in zip(row, mean, directions[:, bit], strict=True))
            assert code[bit] == (1 if score >= 0 else -1)


def test_a_bit_tells_two_features_apart_with_the_angle_over_pi() -> None:
    bits = 40_000  # standard error below 0.0025
    for angle in (0.1, 0.8, math.pi / 2, 2.5, 3.1):
        a = np.array([1.0, 0, 0])
        b = np.array([math.cos(angle), math.sin(angle), 0])
        features = torch.tensor(np.stack([a, b, -a, -b]))  # their mean is zero
        codes = hashing.fit("lsh", features, None, bits)(features)
        share = (codes[0] != codes[1]).double().mean().item()
        assert abs(share - angle / math.pi) < 0.01


def test_only_directions_count() -> None:
    features = torch.randn(30, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features -= features.mean(0)
    encoder = hashing.fit("lsh", features, None, 64)
    lengths = torch.rand(30, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.5
    centre = encoder.mean
    assert torch.equal(encoder((features - centre) * lengths + centre), encoder(features))
    assert torch.equal(hashing.fit("lsh", 8 * features, None, 64)(8 * features), encoder(features))


def test_directions_are_normal() -> None:
    directions = hashing.fit("lsh", torch.eye(200), None, 500).directions
    assert abs(directions.mean().item()) < 0.02
    assert abs(directions.std().item() - 1) < 0.02
    assert abs((directions > 1.96).double().mean().item() - 0.025) < 0.004
