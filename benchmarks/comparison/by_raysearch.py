"""The study of the comparison, by raysearch: it continues after a kill, and its report has the table.

raysearch sweep benchmarks/comparison/by_raysearch.py
"""

import torch
from digits import draw_digits, make_model, measure_accuracy, train_epoch

from raysearch import Ablation, factor


def train(run):
    """Train one network, and return its accuracy."""
    parts = draw_digits()
    model = make_model(run.config["width"])
    optimizer = torch.optim.SGD(model.parameters(), lr=run.config["lr"], momentum=0.9)
    if run.state:
        model.load_state_dict(run.state["model"])
        optimizer.load_state_dict(run.state["optimizer"])
    for epoch in run.steps(10):
        loss = train_epoch(model, optimizer, parts["train"], run.seed, epoch)
        metrics = {"loss": loss, "accuracy_validation": measure_accuracy(model, parts["validation"])}
        run.report(metrics, state={"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    return {"accuracy": measure_accuracy(model, parts["test"])}


study = Ablation(
    question="Does width matter?",
    task=train,
    base={"lr": 0.1},
    reference={"width": 64},
    factors=[factor("width", 16, 64, 256), factor("lr", 0.01, 0.1)],
    metric="accuracy",
    seeds=5,
)
