"""The study of the comparison, by Lightning: one cell after another, each continued from its last checkpoint.

python benchmarks/comparison/by_lightning.py
"""

import json
import os
from pathlib import Path

import lightning
import torch
from digits import draw_digits, make_model, measure_accuracy
from lightning.pytorch.callbacks import ModelCheckpoint
from paired_table import print_table
from torch.utils.data import DataLoader, TensorDataset

VARIANTS = {
    "reference": {"width": 64, "lr": 0.1},
    "width=16": {"width": 16, "lr": 0.1},
    "width=256": {"width": 256, "lr": 0.1},
    "lr=0.01": {"width": 64, "lr": 0.01},
}
EPOCHS = 10
SEEDS = 5
HOME = Path("lightning_runs")


class Classifier(lightning.LightningModule):
    """The network with its loss, validation and optimizer."""

    def __init__(self, width, lr):
        super().__init__()
        self.model = make_model(width)
        self.lr = lr

    def training_step(self, batch, index):
        """Return the loss of a batch."""
        images, labels = batch
        loss = torch.nn.functional.cross_entropy(self.model(images), labels)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, index):
        """Log the accuracy on the validation part."""
        self.log("accuracy_validation", measure_accuracy(self.model, batch))

    def configure_optimizers(self):
        """Return the optimizer."""
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def train(variant, seed):
    """Train one network, or continue it, and return its accuracy."""
    lightning.seed_everything(seed)
    parts = draw_digits()
    folder = HOME / f"{variant}-{seed}"
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[ModelCheckpoint(dirpath=folder, save_last=True)],
    )
    last = folder / "last.ckpt"
    model = Classifier(**VARIANTS[variant])
    train_batches = DataLoader(TensorDataset(*parts["train"]), batch_size=50, shuffle=True)
    validation_batch = DataLoader(TensorDataset(*parts["validation"]), batch_size=200)
    trainer.fit(model, train_batches, validation_batch, ckpt_path=last if last.exists() else None)
    return measure_accuracy(model.model.cpu(), parts["test"])


def main():
    """Run or continue the study, and print its table."""
    HOME.mkdir(exist_ok=True)
    accuracies = {variant: {} for variant in VARIANTS}
    for variant in VARIANTS:
        for seed in range(SEEDS):
            path = HOME / f"{variant}-{seed}.json"
            if not path.exists():
                path.with_suffix(".new").write_text(json.dumps(train(variant, seed)))
                os.replace(path.with_suffix(".new"), path)
            accuracies[variant][seed] = json.loads(path.read_text())
    print_table(accuracies, "reference")


if __name__ == "__main__":
    main()
