"""The study of the comparison, by Ray Tune, with its checkpoints and `Tuner.restore` for a call after a kill.

python benchmarks/comparison/by_ray_tune.py
"""

import os
import tempfile
from pathlib import Path

import torch
from digits import draw_digits, make_model, measure_accuracy, train_epoch
from paired_table import print_table
from ray import tune

VARIANTS = {
    "reference": {"width": 64, "lr": 0.1},
    "width=16": {"width": 16, "lr": 0.1},
    "width=256": {"width": 256, "lr": 0.1},
    "lr=0.01": {"width": 64, "lr": 0.01},
}
EPOCHS = 10
SEEDS = 5
HOME = Path("ray_tune_runs").resolve()


def train(config):
    """Train one network, and report its accuracy."""
    settings = VARIANTS[config["variant"]]
    torch.manual_seed(config["seed"])
    parts = draw_digits()
    model = make_model(settings["width"])
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["lr"], momentum=0.9)
    start = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            state = torch.load(os.path.join(folder, "state.pt"), weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["epoch"] + 1
    for epoch in range(start, EPOCHS):
        loss = train_epoch(model, optimizer, parts["train"], config["seed"], epoch)
        metrics = {"loss": loss, "accuracy_validation": measure_accuracy(model, parts["validation"])}
        metrics["accuracy"] = measure_accuracy(model, parts["test"])
        with tempfile.TemporaryDirectory() as folder:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, os.path.join(folder, "state.pt"))
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def main():
    """Run or continue the study, and print its table."""
    if tune.Tuner.can_restore(str(HOME / "width")):
        tuner = tune.Tuner.restore(str(HOME / "width"), train, resume_unfinished=True, resume_errored=True)
    else:
        tuner = tune.Tuner(
            train,
            param_space={
                "variant": tune.grid_search(list(VARIANTS)),
                "seed": tune.grid_search(list(range(SEEDS))),
            },
            run_config=tune.RunConfig(name="width", storage_path=str(HOME)),
        )
    accuracies = {variant: {} for variant in VARIANTS}
    for result in tuner.fit():
        if not result.error:
            accuracies[result.config["variant"]][result.config["seed"]] = result.metrics["accuracy"]
    print_table(accuracies, "reference")


if __name__ == "__main__":
    main()
