"""What all programs of the comparison share: images of digits that torch draws, a small network, and one epoch."""

import torch
from torch import nn


def draw_digits():
    """Return part -> (images (n, 64), labels (n,)): ten glyphs of 8 x 8 pixels under noise."""
    generator = torch.Generator().manual_seed(0)
    glyphs = torch.rand(10, 64, generator=generator).round()
    labels = torch.randint(10, (1000,), generator=generator)
    images = glyphs[labels] + 1.5 * torch.randn(1000, 64, generator=generator)
    parts = zip(images.split([600, 200, 200]), labels.split([600, 200, 200]), strict=True)
    return dict(zip(("train", "validation", "test"), parts, strict=True))


def make_model(width):
    """Return a network of one hidden layer."""
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def train_epoch(model, optimizer, part, seed, epoch):
    """Train an epoch in an order of its own, and return the last loss."""
    images, labels = part
    for rows in torch.randperm(len(labels), generator=torch.Generator().manual_seed(1000 * seed + epoch)).split(50):
        loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def measure_accuracy(model, part):
    """Return the share of images that are classified correctly."""
    images, labels = part
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()
