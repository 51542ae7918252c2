"""Does a wider network classify better?

raysearch sweep STUDY_FILE --dry-run     what will run
raysearch sweep STUDY_FILE               run it, and write the report
raysearch train STUDY_FILE --set width=16   one run on this machine, without Ray
"""

import torch
from torch import nn

from raysearch import Ablation, factor


def train(run):
    """Train a network with the settings `run.config` and the seed `run.seed`, and return its metrics."""
    points, labels = draw_spirals(seed=0)  # your own data
    model = nn.Sequential(
        nn.Linear(2, run.config["width"]),
        nn.ReLU(),
        nn.Linear(run.config["width"], run.config["width"]),
        nn.ReLU(),
        nn.Linear(run.config["width"], 3),
    ).to(run.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=run.config["lr"])
    if run.state:  # a run that was killed continues here, also on another machine
        model.load_state_dict(run.state["model"])
        optimizer.load_state_dict(run.state["optimizer"])
    train_rows, validation_rows, test_rows = torch.arange(len(points)).split([600, 150, 150])
    for epoch in run.steps(20):  # from the step where the state ends
        order = torch.randperm(len(train_rows), generator=torch.Generator().manual_seed(1000 * run.seed + epoch))
        for rows in order.split(50):
            loss = nn.functional.cross_entropy(model(points[rows].to(run.device)), labels[rows].to(run.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracy = measure_accuracy(model, points, labels, validation_rows, run.device)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        run.report({"loss": loss, "accuracy_validation": accuracy}, state)
    return {"accuracy": measure_accuracy(model, points, labels, test_rows, run.device)}


def measure_accuracy(model, points, labels, rows, device):
    """Return the share of points that the model classifies correctly."""
    with torch.no_grad():
        return (model(points[rows].to(device)).argmax(1).cpu() == labels[rows]).float().mean()


def draw_spirals(seed):
    """Return points (900, 2) on three spirals, and the spiral of each, in random order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (900,), generator=generator)
    radius = torch.rand(900, generator=generator)
    angle = 4 * radius + 2.1 * labels + 0.25 * torch.randn(900, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1), labels


study = Ablation(
    question="Does a wider network classify better?",
    task=train,
    base={"lr": 0.01},  # settings of every run
    reference={"width": 16},  # what the other variants are compared with
    factors=[
        factor("width", 4, 16, 64),
        factor("lr", 0.001, 0.01),
    ],
    metric="accuracy",  # what `train` returns
    seeds=5,
)
