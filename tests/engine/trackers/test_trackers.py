"""Each tool reads back what its tracker logged, from the tool's own files, although the first sweep was killed."""

import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raysearch.engine.trackers import TRACKERS, tracking

from .sitting import SEEDS, STEPS, VARIANTS, first_sitting, metric, open_run, second_sitting

ROOT = Path(__file__).parents[3]
Shown = dict[tuple[str, int], dict[str, Any]]  # variant and seed -> what a tool shows of the run


def test_the_killed_and_continued_study_is_one_run_per_cell(tool: str, tmp_path: Path) -> None:
    folder = log_in_two_sittings(tmp_path, tool)
    shown = READERS[tool](folder)
    assert sorted(shown) == sorted((variant, seed) for variant in VARIANTS for seed in SEEDS)
    for (variant, seed), run in shown.items():
        assert [step for step, _ in run["loss"]] == [1, 2, 3, 4]
        assert [value for _, value in run["loss"]] == pytest.approx([1 / step + seed for step in range(1, STEPS + 1)])
        assert run["final/map"] == pytest.approx(metric(variant, seed))
        assert run["bits"] == 12
        assert run["verdict"] == ("reference" if variant == "reference" else "better")
    files = len(list(folder.rglob("*")))
    second_sitting(open_run(tmp_path), [tool], Console(file=io.StringIO()))
    assert READERS[tool](folder) == shown, "the same command again has logged something"
    assert len(list(folder.rglob("*"))) == files


def log_in_two_sittings(run_dir: Path, tool: str) -> Path:
    """Run the first sitting in a process that is killed, and the second here; return the tool's folder."""
    command = [sys.executable, "-m", f"{first_sitting.__module__}", str(run_dir), tool]
    killed = subprocess.run(command, cwd=ROOT, check=False, timeout=120, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    output = Console(record=True, width=200, file=io.StringIO())
    second_sitting(open_run(run_dir), [tool], output)
    assert "is off" not in output.export_text()
    return run_dir / tracking.FOLDER / tool


def read_tensorboard(folder: Path) -> Shown:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.plugins.hparams import plugin_data_pb2

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    shown: Shown = {}
    for name in multiplexer.Runs():
        run = multiplexer.GetAccumulator(name)
        content = run.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        (verdict,) = run.Tensors("verdict")
        (final,) = run.Scalars("final/map")
        shown[start["variant"].string_value, int(start["seed"].number_value)] = {
            "loss": [(event.step, event.value) for event in run.Scalars("loss")],
            "final/map": final.value,
            "bits": start["hash.bits"].number_value,
            "verdict": json.loads(verdict.tensor_proto.string_val[0])["verdict"],
        }
    return shown


def read_mlflow(folder: Path) -> Shown:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    shown: Shown = {}
    for run in client.search_runs([client.get_experiment_by_name("a study").experiment_id]):
        assert run.info.status == "FINISHED"
        losses = client.get_metric_history(run.info.run_id, "loss")
        shown[run.data.params["variant"], int(run.data.params["seed"])] = {
            "loss": sorted((point.step, point.value) for point in losses),
            "final/map": run.data.metrics["final/map"],
            "bits": int(run.data.params["hash.bits"]),
            "verdict": run.data.tags["raysearch.verdict"],
        }
    return shown


def read_wandb(folder: Path) -> Shown:
    from wandb.proto import wandb_internal_pb2

    shown: Shown = {}
    for path in folder.glob("wandb/offline-run-*/*.wandb"):
        losses = []
        summary: dict[str, Any] = {}
        for content in wandb_records(path.read_bytes()):
            item = wandb_internal_pb2.Record.FromString(content)
            if item.WhichOneof("record_type") == "run":
                config = {entry.key: json.loads(entry.value_json) for entry in item.run.config.update}
                assert item.run.run_group == config["variant"]
            for group in (item.history.item, item.summary.update):
                values = {".".join(entry.nested_key) or entry.key: json.loads(entry.value_json) for entry in group}
                if group is item.history.item and "loss" in values:
                    losses.append((values["_step"], values["loss"]))
                summary |= values
        key = config["variant"], config["seed"]
        assert key not in shown, "two files of one cell"
        shown[key] = {"loss": losses, "final/map": summary["final/map"], "verdict": summary["verdict"]}
        shown[key]["bits"] = config["hash.bits"]
    return shown


def wandb_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a run's file: the log format of LevelDB, after a header of seven bytes."""
    position = 7
    record = b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:  # the rest of a block that no header fits into
            position += left
            continue
        size, kind = struct.unpack_from("<HB", content, position + 4)
        record += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # a whole record, or the end of one
            yield record
            record = b""


def read_trackio(folder: Path) -> Shown:
    # In a process of its own, since the library reads its folder once.
    code = """
import json
from trackio.sqlite_storage import SQLiteStorage as storage
names = storage.get_runs("a study")
runs = [(storage.get_run_config("a study", name), storage.get_logs("a study", name)) for name in names]
print(json.dumps(runs, default=str))
"""
    environment = os.environ | {"TRACKIO_DIR": str(folder)}
    output = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True).stdout
    shown: Shown = {}
    for config, logs in json.loads(output.splitlines()[-1]):
        (final,) = [entry for entry in logs if "final/map" in entry]
        (judged,) = [entry for entry in logs if "verdict" in entry]
        assert (config["variant"], config["seed"]) not in shown
        shown[config["variant"], config["seed"]] = {
            "loss": [(entry["step"], entry["loss"]) for entry in logs if "loss" in entry],
            "final/map": final["final/map"],
            "bits": config["hash.bits"],
            "verdict": judged["verdict"],
        }
    return shown


READERS: dict[str, Callable[[Path], Shown]] = {
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
    "wandb": read_wandb,
    "trackio": read_trackio,
}


# Only the first library is light, and installed with the extra `test`.
@pytest.fixture(params=["tensorboard", *(pytest.param(name, marks=pytest.mark.slow) for name in list(READERS)[1:])])
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip(TRACKERS[request.param].library)
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE", "TRACKIO_DIR"):
        monkeypatch.delenv(name, raising=False)
    return str(request.param)
