"""Extensions in processes of their own, since what an extension registers stays registered."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from raysearch.studies.configs import RunConfig
from raysearch.tasks import registry
from raysearch.tasks.base import Task, Worker

ROOT = Path(__file__).parents[2]


def run_script(script: str, extension: Path, folder: Path) -> dict[str, Any]:
    """Run a script with RAYSEARCH_EXTENSIONS=extension and `folder` as its argument, and return the JSON it prints."""
    folder.mkdir(exist_ok=True)
    child = run_python(["-c", script, str(folder)], extension)
    assert child.returncode == 0, child.stderr
    result: dict[str, Any] = json.loads(child.stdout)
    return result


def run_python(arguments: list[str], extension: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with RAYSEARCH_EXTENSIONS=extension, and with this repository on its path."""
    env = {**os.environ, "RAYSEARCH_EXTENSIONS": str(extension), "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, check=False)


def list_settings(task: str, extension: Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m raysearch.train TASK --extension FILE --settings`."""
    command = [sys.executable, "-m", "raysearch.train", task, "--extension", str(extension), "--settings"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def assert_refused(task: str, extension: Path, message: str) -> None:
    """Assert that a command refuses an extension in one line, with exit code 2."""
    child = list_settings(task, extension)
    assert child.returncode == 2
    assert message in child.stderr
    assert child.stderr.count("\n") == 1


def resume_halfway(config: RunConfig, worker: Worker) -> Task:
    """Train two steps, save and load the state in a task that is built from the plain config, and train two more."""
    first = registry.build(config, 0, worker)
    for _ in range(2):
        first.advance()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = registry.build_from_plain(config.model_dump(mode="json"), 0, worker)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(2):
        resumed.advance()
    return resumed
