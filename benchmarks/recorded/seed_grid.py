"""Ten variants of a real small network with 20 seeds each: `adaptive_seeds.py` replays them in random orders of seeds.

    python -m raysearch.sweep benchmarks/recorded/seed_grid.py --concurrency 1 --out runs/seeds
    python benchmarks/recorded/seed_grid.py runs/seeds

The first command trains a convolutional network on the digits of scikit-learn (1,797 images of 8 x 8 pixels). A seed
draws 300 of 797 training images, the first weights and the order, the same for every variant. The second command writes
`seed_grid.parquet` next to this file: a row per cell with the accuracy on 1,000 test images. The levels are chosen to
give large, small and no effects.

The recorded file was made by calling `train` with the configs and seeds of the plan, since the machine was busy. The 34
cells that the sweep had also run were equal to the last bit. With torch 2.15 and scikit-learn 1.9, five variants are
significantly worse or better with all 20 seeds, and four are undecided.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from raysearch import Ablation, factor
from raysearch.runs import results

PATH = Path(__file__).with_suffix(".parquet")
EPOCHS = 12
BATCH = 25


def load_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images (1797, 1, 8, 8) between 0 and 1 and their labels, always in the same random order."""
    from sklearn import datasets

    digits = datasets.load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    return images[order], torch.tensor(digits.target)[order]


def build_network(width: int, dropout: float) -> nn.Module:
    """Return a network of two convolutions."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(8 * width, 10),
    )


def train(run: Any) -> dict[str, float]:
    """Train one network, and return its accuracy on the test images."""
    config = run.config
    torch.manual_seed(run.seed)
    images, labels = load_digits()
    drawn = torch.randperm(797, generator=torch.Generator().manual_seed(run.seed))[:300]
    network = build_network(config["width"], config["dropout"])
    optimizer = torch.optim.SGD(
        network.parameters(), lr=config["lr"], momentum=config["momentum"], weight_decay=config["weight_decay"]
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=config["smoothing"])
    for _ in run.steps(1):
        for _ in range(EPOCHS):
            for rows in drawn[torch.randperm(len(drawn))].split(BATCH):
                batch = images[rows]
                if config["shift"]:
                    batch = batch.roll(tuple(torch.randint(-1, 2, (2,)).tolist()), (2, 3))
                loss = loss_of(network(batch), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        run.report({"loss": loss.item()})
    network.eval()
    with torch.no_grad():
        correct = network(images[797:]).argmax(1) == labels[797:]
    return {"accuracy": correct.double().mean().item()}


study = Ablation(
    question="Which settings change the accuracy of a small network?",
    task=train,
    reference={
        "width": 16,
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "dropout": 0.0,
        "smoothing": 0.0,
        "shift": False,
    },
    factors=[
        factor("width", 8, 32),
        factor("lr", 0.02, 0.1),
        factor("momentum", 0.5),
        factor("weight_decay", 1e-4),
        factor("dropout", 0.2),
        factor("smoothing", 0.1),
        factor("shift", True),
    ],
    metric="accuracy",
    seeds=20,
)


def collect(run_dir: str) -> pa.Table:
    """Return the cells of a run of the study, in the order of the plan.

    Args:
        run_dir: directory of the run.
    """
    table = results.load(run_dir).select(["variant", "seed", "status", "accuracy"])
    record = results.read_study(run_dir)
    source = {"reference": record.reference, "versions": record.versions}
    return table.replace_schema_metadata({"made_with": json.dumps(source)})


if __name__ == "__main__":
    pq.write_table(collect(sys.argv[1]), PATH, compression="zstd")
    print(f"{PATH}: {PATH.stat().st_size} bytes")
