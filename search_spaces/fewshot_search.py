"""A search over both few-shot methods, their parts and the learning rate.

python -m raysearch.sweep fewshot_search --trials 40

The space depends on the method: HelixFormer has depth, design and fusion; LWFM-SPM has a matcher and weights.
"""

from typing import Any

from raysearch import Search

HELIXFORMER = {"model.method": "helixformer", "helix.depth": 1, "helix.design": "sym", "helix.fusion": "mul"}


def space(trial: Any) -> None:
    """Ask an Optuna trial for the settings of one config, by config path."""
    trial.suggest_float("train.lr", 1e-4, 1e-2, log=True)
    if trial.suggest_categorical("model.method", ["helixformer", "lwfm"]) == "helixformer":
        trial.suggest_int("helix.depth", 1, 3)
        trial.suggest_categorical("helix.design", ["q2s", "s2q", "s_then_q", "q_then_s", "sym"])
        trial.suggest_categorical("helix.fusion", ["mul", "add", "mul_res"])
        trial.suggest_categorical("helix.heads", [1, 2, 4])
    else:
        trial.suggest_float("lwe.temperature", 1.0, 10.0, log=True)
        trial.suggest_categorical("spm.matcher", ["hungarian", "nearest", "mutual", "sinkhorn"])
        trial.suggest_categorical("spm.reduce", ["top1", "topk", "mean"])
        trial.suggest_float("spm.weight", 0.05, 2.0, log=True)
        trial.suggest_float("lwfm.tau", 0.05, 0.5, log=True)


study = Search(
    question="Which method, parts and learning rate classify most queries correctly?",
    task="fewshot",
    space=space,
    reference={**HELIXFORMER, "train.lr": 1e-3},
    metric="accuracy_validation",
    trials=16,
    judge_seeds=3,
    judge_metric="accuracy",
    profiles={"paper": {"pretrain.epochs": 100}},
)
