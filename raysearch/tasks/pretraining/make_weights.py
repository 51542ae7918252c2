"""How the small backbone's weights were made: it learned to name the parts of drawn birds of kinds that no study meets.

    python -m raysearch.tasks.pretraining.make_weights raysearch/models/weights/small_drawn_birds_v1.pt

The kinds come from another seed than the embedded data set's, as ImageNet's classes are others than a study's. The
network is asked for each part's level (beak, crown, ...) by a linear layer a part, which is thrown away.
"""

from pathlib import Path

import numpy as np
import torch
import typer
from torch import Tensor, nn

from raysearch.core import cli
from raysearch.data import synthetic
from raysearch.data.feed import ImageSet, augment
from raysearch.models import backbones
from raysearch.models.fcaenet import pool

SPEC = synthetic.SyntheticSpec(classes=320, train_per_class=48, test_per_class=4, seed=1_000_003, distinctness=1.0)

app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Path = typer.Argument(help="File to write."),
    epochs: int = typer.Option(14, min=1),
    batch: int = typer.Option(128, min=2),
    lr: float = typer.Option(4e-3),
) -> None:
    """Train the small backbone on drawn birds and write its state dict in half precision."""
    torch.manual_seed(0)
    train, test = draw()
    levels = [len(values) for values in synthetic.LEVELS.values()]
    parts = torch.tensor(synthetic.class_traits(SPEC))
    backbone = backbones.build("small").to(memory_format=torch.channels_last)
    head = nn.Linear(backbone.channels, sum(levels))
    parameters = [*backbone.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, epochs * (len(train) // batch))
    generator = torch.Generator().manual_seed(0)
    for epoch in range(epochs):
        backbone.train()
        for rows in torch.randperm(len(train), generator=generator).split(batch):
            if len(rows) < batch:
                continue
            # Mirrored as these weights were made: by coins of the one generator that also draws the order.
            mirrored = torch.rand(len(rows), 1, generator=generator) < 0.5
            images = augment(train.take(rows, torch.device("cpu")), mirrored)
            loss = _loss(head(_pooled(backbone, images)), parts[torch.from_numpy(train.labels)[rows]], levels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        right = _accuracy(backbone, head, test, parts)
        print(f"epoch {epoch + 1}: loss {float(loss.detach()):.3f}, parts right {right:.3f}")
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: value.half() if value.is_floating_point() else value for name, value in _state(backbone)}, out)


def draw() -> tuple[ImageSet, ImageSet]:
    """Draw the birds of `SPEC`."""
    kept: dict[str, tuple[list[np.ndarray], list[int]]] = {"train": ([], []), "test": ([], [])}
    for split, label, _, image in synthetic.draw_images(SPEC):
        kept[split][0].append(image)
        kept[split][1].append(label)
    train, test = (ImageSet(np.stack(images), np.array(labels)) for images, labels in kept.values())
    return train, test


def _pooled(backbone: backbones.Backbone, images: Tensor) -> Tensor:
    return pool(backbone(images)[backbone.taps[-1]])


def _loss(logits: Tensor, wanted: Tensor, levels: list[int]) -> Tensor:
    """Sum over parts of the cross entropies of (B, sum of levels) logits and (B, parts) levels."""
    losses = [nn.functional.cross_entropy(part, wanted[:, i]) for i, part in enumerate(logits.split(levels, dim=1))]
    return torch.stack(losses).sum()


@torch.no_grad()
def _accuracy(backbone: backbones.Backbone, head: nn.Module, images: ImageSet, parts: Tensor) -> float:
    backbone.eval()
    levels = [len(values) for values in synthetic.LEVELS.values()]
    right = []
    for rows in torch.arange(len(images)).split(256):
        logits = head(_pooled(backbone, images.batch(rows, torch.device("cpu"))))
        named = torch.stack([part.argmax(1) for part in logits.split(levels, dim=1)], dim=1)
        right.append((named == parts[torch.from_numpy(images.labels)[rows]]).float().mean(1))
    return float(torch.cat(right).mean())


def _state(backbone: backbones.Backbone) -> list[tuple[str, Tensor]]:
    return [(name.removeprefix("body."), value) for name, value in backbone.state_dict().items()]


if __name__ == "__main__":
    cli.run(app)
