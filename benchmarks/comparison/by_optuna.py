"""The study of the comparison, by Optuna, with trials in SQLite and a checkpoint of each cell for a call after a kill.

python benchmarks/comparison/by_optuna.py
"""

import os
from pathlib import Path

import optuna
import torch
from digits import draw_digits, make_model, measure_accuracy, train_epoch
from optuna.trial import TrialState
from paired_table import print_table

VARIANTS = {
    "reference": {"width": 64, "lr": 0.1},
    "width=16": {"width": 16, "lr": 0.1},
    "width=256": {"width": 256, "lr": 0.1},
    "lr=0.01": {"width": 64, "lr": 0.01},
}
EPOCHS = 10
SEEDS = 5
HOME = Path("optuna_runs")


def train(trial):
    """Train one network, and return its accuracy."""
    variant = trial.suggest_categorical("variant", list(VARIANTS))
    seed = trial.suggest_int("seed", 0, SEEDS - 1)
    settings = VARIANTS[variant]
    torch.manual_seed(seed)
    parts = draw_digits()
    model = make_model(settings["width"])
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["lr"], momentum=0.9)
    start = 0
    path = HOME / f"{variant}-{seed}.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["epoch"] + 1
    for epoch in range(start, EPOCHS):
        loss = train_epoch(model, optimizer, parts["train"], seed, epoch)
        trial.set_user_attr(f"loss {epoch}", loss)
        trial.report(measure_accuracy(model, parts["validation"]), epoch)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)
    return measure_accuracy(model, parts["test"])


def main():
    """Run or continue the study, and print its table."""
    HOME.mkdir(exist_ok=True)
    storage = f"sqlite:///{HOME}/width.db"
    study = optuna.create_study(study_name="width", storage=storage, direction="maximize", load_if_exists=True)
    if not study.trials:
        for variant in VARIANTS:
            for seed in range(SEEDS):
                study.enqueue_trial({"variant": variant, "seed": seed})
    for trial in study.get_trials(states=[TrialState.RUNNING]):  # of a call that was killed
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.system_attrs["fixed_params"])
    study.optimize(train, n_trials=len(study.get_trials(states=[TrialState.WAITING])))
    accuracies = {variant: {} for variant in VARIANTS}
    for trial in study.get_trials(states=[TrialState.COMPLETE]):
        accuracies[trial.params["variant"]][trial.params["seed"]] = trial.value
    print_table(accuracies, "reference")


if __name__ == "__main__":
    main()
