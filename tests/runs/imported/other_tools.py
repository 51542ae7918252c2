"""Results of one small study, written by the tools themselves."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

SEEDS = range(5)
MEANS = {"baseline": 0.70, "ours": 0.73, "wider": 0.701}
STEPS = 3

_generator = random.Random(0)
SCORES = {
    (method, seed): mean + 0.01 * seed + _generator.gauss(0.0, 0.004)
    for method, mean in MEANS.items()
    for seed in SEEDS
}


def curve(method: str, seed: int) -> list[float]:
    """The accuracy after each step; the last is the score."""
    return [SCORES[method, seed] - 0.1 * (STEPS - step) for step in range(1, STEPS + 1)]


def table() -> pa.Table:
    """A row per run."""
    rows = [{"method": method, "seed": seed, "accuracy": score} for (method, seed), score in SCORES.items()]
    return pa.Table.from_pylist(rows)


def write_csv(folder: Path) -> Path:
    pyarrow.csv.write_csv(table(), folder / "runs.csv")
    return folder / "runs.csv"


def write_parquet(folder: Path) -> Path:
    pyarrow.parquet.write_table(table(), folder / "runs.parquet")
    return folder / "runs.parquet"


def write_steps(folder: Path) -> Path:
    rows = [
        {"method": method, "seed": seed, "step": step, "accuracy": value}
        for method, seed in SCORES
        for step, value in enumerate(curve(method, seed), start=1)
    ]
    pyarrow.csv.write_csv(pa.Table.from_pylist(rows), folder / "steps.csv")
    return folder / "steps.csv"


def write_wandb(folder: Path) -> Path:
    """The export of W&B's documentation: pandas writes dictionaries as the texts that Python prints."""
    import pandas

    runs = [
        {
            "name": f"{method}-{seed}",
            "summary": {"accuracy": score, "_runtime": 3.5, "_wandb": {"runtime": 3}},
            "config": {"method": method, "seed": seed, "_wandb": {}},
        }
        for (method, seed), score in SCORES.items()
    ]
    pandas.DataFrame(runs).to_csv(folder / "project.csv")
    return folder / "project.csv"


def write_optuna(folder: Path, name: str = "optuna.db") -> Path:
    import optuna

    path = folder / name
    storage: optuna.storages.BaseStorage
    if name.endswith(".db"):
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    else:
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    study = optuna.create_study(study_name="methods", storage=storage, direction="maximize")
    study.set_metric_names(["accuracy"])
    methods = optuna.distributions.CategoricalDistribution(list(MEANS))
    for (method, seed), score in SCORES.items():
        trial = optuna.trial.create_trial(
            params={"method": method},
            distributions={"method": methods},
            value=score,
            user_attrs={"seed": seed},
            intermediate_values=dict(enumerate(curve(method, seed), start=1)),
        )
        study.add_trial(trial)
    return path


def write_optuna_journal(folder: Path) -> Path:
    return write_optuna(folder, "optuna.log")


def write_tensorboard(folder: Path) -> Path:
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for method, seed in SCORES:
        writer = EventFileWriter(str(folder / "logs" / method / f"seed-{seed}"))
        for step, value in enumerate(curve(method, seed), start=1):
            entry = summary_pb2.Summary.Value(tag="accuracy", simple_value=value)
            writer.add_event(event_pb2.Event(step=step, summary=summary_pb2.Summary(value=[entry])))
        writer.close()
    return folder / "logs"


def write_mlflow(folder: Path, kind: str = "sqlite") -> Path:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    from mlflow import MlflowClient

    path = folder / ("mlflow.db" if kind == "sqlite" else "mlruns")
    client = MlflowClient(f"sqlite:///{path}" if kind == "sqlite" else path.as_uri())
    experiment = client.create_experiment("methods", artifact_location=str(folder / "artifacts"))
    for method, seed in SCORES:
        run = client.create_run(experiment).info.run_id
        client.log_param(run, "method", method)
        client.log_param(run, "seed", seed)
        for step, value in enumerate(curve(method, seed), start=1):
            client.log_metric(run, "accuracy", value, step=step)
        client.set_terminated(run)
    return path


def write_mlflow_folder(folder: Path) -> Path:
    return write_mlflow(folder, "files")


def write_tune(folder: Path) -> Path:
    from ray import tune

    def _train(config: dict) -> None:
        for value in curve(config["method"], config["seed"]):
            tune.report({"accuracy": value})

    space = {"method": tune.grid_search(list(MEANS)), "seed": tune.grid_search(list(SEEDS))}
    run_config = tune.RunConfig(name="methods", storage_path=str(folder), verbose=0)
    tune.Tuner(_train, param_space=space, run_config=run_config).fit()
    return folder / "methods"


def write_hydra(folder: Path) -> Path:
    """A multirun of a program that writes its metrics as JSON."""
    import subprocess
    import sys

    program = folder / "train.py"
    program.write_text(
        "import json, hydra, pathlib\n"
        "from hydra.core.hydra_config import HydraConfig\n"
        f"CURVES = json.loads({json.dumps(json.dumps({f'{m} {s}': curve(m, s) for m, s in SCORES}))})\n"
        "@hydra.main(version_base=None, config_path='conf', config_name='config')\n"
        "def main(config):\n"
        "    values = CURVES[f'{config.model.method} {config.seed}']\n"
        "    lines = [json.dumps({'step': n, 'accuracy': v}) for n, v in enumerate(values, start=1)]\n"
        "    out = pathlib.Path(HydraConfig.get().runtime.output_dir)\n"
        "    (out / 'metrics.jsonl').write_text('\\n'.join(lines))\n"
        "main()\n"
    )
    (folder / "conf").mkdir()
    (folder / "conf/config.yaml").write_text("seed: 0\nmodel:\n  method: baseline\n  layers: [1, 2]\n")
    words = ["-m", f"model.method={','.join(MEANS)}", f"seed={','.join(map(str, SEEDS))}", "hydra.sweep.dir=multirun"]
    subprocess.run([sys.executable, str(program), *words], cwd=folder, check=True, capture_output=True)
    return folder / "multirun"


FAST: dict[str, Callable[[Path], Path]] = {
    "CSV": write_csv,
    "CSV of steps": write_steps,
    "Parquet": write_parquet,
    "W&B export": write_wandb,
    "Optuna storage": write_optuna,
    "Optuna journal": write_optuna_journal,
    "TensorBoard folder": write_tensorboard,
}
SLOW: dict[str, Callable[[Path], Path]] = {
    "MLflow database": write_mlflow,
    "MLflow folder": write_mlflow_folder,
    "Ray Tune experiment": write_tune,
    "Hydra multirun": write_hydra,
}
LIBRARIES = {
    "TensorBoard folder": "tensorboard",
    "MLflow database": "mlflow",
    "MLflow folder": "mlflow",
    "Hydra multirun": "hydra",
}
