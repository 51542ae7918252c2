"""A study on a data set in a store gives, resident and streamed, the numbers of its directory, and keeps no secret."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.runs import results
from raysearch.storage import Location, local_copies

from .s3_server import Server, reads
from .study_json import read_study_json

pytestmark = pytest.mark.slow

ASKED = ("--profile", "laptop", "--seeds", "1", "--only", "srem.regions=0", "--only", "srem.size=64")
SHORT = ("train.iterations=1", "train.epochs=1", "train.batch=8", "data.side=32")


def outcome(run: Path, data: str, *words: str) -> list[dict]:
    """Run a study, check that its output and files hold no secret, and return the results of its cells."""
    command = [sys.executable, "-m", "raysearch.sweep", "srem_ablation", *ASKED]
    command += [word for setting in SHORT for word in ("--set", setting)]
    done = subprocess.run(
        [*command, "--data", data, "--out", str(run), *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HUSH" not in done.stdout + done.stderr
    assert not [file for file in run.rglob("*") if file.is_file() and b"HUSH" in file.read_bytes()]
    table = results.load(run)
    columns = ("variant", "seed", "status", "map", "map_index", "data")
    return sorted(table.select(columns).to_pylist(), key=lambda cell: cell["variant"])


def test_the_same_numbers_from_a_store(
    s3: Server, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in tiny_data.iterdir():
        (Location.parse(s3.uri("birds")) / file.name).upload(file)
    uri = s3.uri("birds", user="KEY:HUSH@")
    outcomes = []
    for feed in ("resident", "streamed"):
        monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / feed / "cache"))
        s3.requests.clear()
        run = tmp_path / feed / "run"
        outcomes.append(outcome(run, uri, "--feed", feed))
        assert read_study_json(run)["data"]["path"] == s3.uri("birds")
        assert reads(s3)
        assert list((tmp_path / feed / "cache" / local_copies.COPIES_FOLDER).iterdir())
    assert outcomes[0] == outcomes[1]
    assert [cell["status"] for cell in outcomes[0]] == ["finished"] * 3
    reference = next(cell for cell in outcomes[0] if cell["variant"] == "reference")
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "here" / "cache"))
    expected = trained(tiny_data, tmp_path / "streamed" / "run")
    assert all(reference[name] == expected[name] for name in ("map", "map_index"))


def trained(directory: Path, run: Path) -> dict[str, float]:
    """The metrics of the run's reference on a directory, without Ray."""
    words = ["retrieval", "--from", str(run), "--variant", "reference", "--data", str(directory)]
    done = subprocess.run([sys.executable, "-m", "raysearch.train", *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
