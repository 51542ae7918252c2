"""A reader follows docs/clusters/slurm.md from its first line to its last, on a real SLURM of two nodes."""

import re
from pathlib import Path

import pytest

from raysearch.runs import results

from ..docs.pages import Page
from ..docs.reader import Reader
from . import slurm_cluster
from .slurm_cluster import ROOT, SlurmCluster, wait_until

_MISSING = slurm_cluster.missing_requirement()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_MISSING is not None, reason=f"this machine {_MISSING}"),
]

NODE = {"cpus": 4, "memory": 17_000}  # room for one job of the default size, whatever the machine has
JOBS = 16
CELLS = 8  # of srem_ablation with one seed
PATIENCE = 1500.0  # seconds


def test_a_reader_follows_the_page(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    with SlurmCluster(tmp_path / "slurm", **NODE) as cluster:
        reader = Reader(tmp_path / "checkout", tmp_path / "home")
        reader.environment |= {
            "SLURM_CONF": cluster.environment["SLURM_CONF"],
            "READER_FLAGS": "--concurrency 1",  # the machine has fewer CPUs than the nodes
            "RAY_worker_niceness": "0",
        }
        page = Page(ROOT / "docs/clusters/slurm.md")
        array, nodes, job_file, watch = [block.text for block in page.blocks]
        assert "raysearch sweep srem_ablation --dry-run" in page.prose
        run(reader, "raysearch sweep srem_ablation --dry-run")

        job = submit(reader, array)
        assert cluster.wait_for_end(job, PATIENCE) == ["COMPLETED"] * JOBS, logs(reader, job)
        assert reader.faults() == []
        assert statuses(reader.directory / "runs/srem") == ["finished"] * CELLS

        job = submit(reader, nodes)
        wait_until(lambda: "trials at a time" in logs(reader, job) or reader.faults(), "the sweep", PATIENCE)
        assert reader.faults() == []
        run(reader, watch.replace("tail -f", "tail").replace("JOB", str(job)))
        assert re.search(rf"^ +{job} ", reader.output, re.MULTILINE)
        assert cluster.wait_for_end(job, PATIENCE) == ["CANCELLED"], logs(reader, job)
        job = submit(reader, nodes)
        assert cluster.wait_for_end(job, PATIENCE) == ["COMPLETED"], logs(reader, job)
        assert statuses(reader.directory / "runs/srem-nodes") == ["finished"] * CELLS

        assert reader.shell(job_file), "the nodes have no GPU"
        assert re.search("^FAIL .*GPU", reader.output, re.MULTILINE), reader.output
        run(reader, job_file.replace("--gpus 1", "--gpus 0"))
        job = submit(reader, "sbatch my-job.sbatch")
        assert set(cluster.wait_for_end(job, PATIENCE)) == {"COMPLETED"}, logs(reader, job)


def run(reader: Reader, text: str) -> None:
    assert reader.shell(text) == []


def submit(reader: Reader, text: str) -> int:
    run(reader, text)
    return int(reader.output.split()[-1])


def logs(reader: Reader, job: int) -> str:
    return "\n".join(path.read_text() for path in sorted(reader.directory.glob(f"raysearch-{job}*.log")))


def statuses(run_dir: Path) -> list[str]:
    return results.load(run_dir)["status"].to_pylist()
