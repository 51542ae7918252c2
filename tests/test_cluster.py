"""`python -m raysearch.cluster` as a user calls it, and the values that it takes from an AWS stack."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from raysearch import cluster
from raysearch.core import UserError
from raysearch.engine.preflight import ray_yaml

from .clusters import account_stack

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "clusters" / "aws.yaml"
KUBE = ["Image=r/raysearch:1", "Bucket=s3://birds", "Study=srem_ablation", "MaxCost=20", "HeadDollars=0.2"]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield


def client(service: str) -> Any:
    return boto3.client(service, region_name=account_stack.REGION)


def run_cluster(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raysearch.cluster", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


def filled(out: Path, *values: str) -> subprocess.CompletedProcess[str]:
    words = [word for value in values for word in ("--set", value)]
    return run_cluster("fill", "clusters/kuberay.yaml", str(out), *words)


def test_check_lists_open_placeholders_and_ends_with_one_line(tmp_path: Path) -> None:
    changed = tmp_path / "changed.yaml"
    changed.write_text(SHIPPED.read_text().replace("instance-type: m7i.2xlarge", "instance-type: <HeadType>"))
    process = run_cluster("check", str(changed))
    assert process.returncode == 2
    lines = process.stdout.splitlines()
    assert any(line.startswith("FAIL") and line.endswith("<HeadType> is not filled in") for line in lines)
    assert re.search(r"\d checks? failed$", process.stderr.splitlines()[-1])
    assert "Traceback" not in process.stderr


def test_check_lists_every_placeholder_of_the_kubernetes_file() -> None:
    """Also those that stand for numbers."""
    process = run_cluster("check", "clusters/kuberay.yaml")
    assert process.returncode == 2
    lines = process.stdout.splitlines()
    names = [line.split()[2] for line in lines if line.endswith(" is not filled in")]
    assert names == ["<Bucket>", "<HeadDollars>", "<Image>", "<MaxCost>", "<Study>", "<WorkerDollars>"]
    assert "machines of your own" not in process.stdout
    assert process.stderr == "error: clusters/kuberay.yaml: 6 checks failed\n"


@pytest.mark.usefixtures("aws")
def test_fill_uses_the_outputs_of_the_stack(tmp_path: Path) -> None:
    account_stack.create(client, "birds", {**account_stack.make_network(client), "ClusterName": "birds"})
    out = tmp_path / "mine.yaml"
    cluster.fill(SHIPPED, out, "birds", account_stack.REGION)
    config = ray_yaml.read_cluster_file(out)
    assert ray_yaml.open_placeholders(config) == []
    assert config["cluster_name"] == "birds"
    assert config["provider"]["region"] == account_stack.REGION
    node = config["available_node_types"]["spot_g5"]["node_config"]
    assert node["LaunchTemplate"]["LaunchTemplateName"] == "birds-worker"
    assert node["SubnetIds"] == account_stack.outputs(client, "birds")["Subnets"].split(",")


@pytest.mark.usefixtures("aws")
def test_public_subnets_are_refused(tmp_path: Path) -> None:
    account_stack.create(client, parameters=account_stack.make_network(client, public=True))
    with pytest.raises(UserError, match=r"us-west-2a.* gives its nodes public addresses"):
        cluster.fill(SHIPPED, tmp_path / "mine.yaml", "raysearch", account_stack.REGION)
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.usefixtures("aws")
def test_a_missing_stack_and_a_placeholder_without_an_output(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read stack 'raysearch' in us-west-2 from AWS"):
        cluster.fill(SHIPPED, tmp_path / "mine.yaml", "raysearch", account_stack.REGION)
    account_stack.create(client)
    changed = tmp_path / "changed.yaml"
    changed.write_text(SHIPPED.read_text() + "metadata: {owner: <Owner>}\n")
    with pytest.raises(UserError, match="has no output Owner"):
        cluster.fill(changed, tmp_path / "mine.yaml", "raysearch", account_stack.REGION)


def test_a_file_for_kubernetes_is_filled_and_checked_with_its_study(tmp_path: Path, tiny_data: Path) -> None:
    out = tmp_path / "my-cluster.yaml"
    missing = filled(out, *KUBE)
    assert (missing.returncode, missing.stderr) == (
        2,
        "error: no value for WorkerDollars; use --set WorkerDollars=...\n",
    )
    assert not out.exists()
    assert filled(out, *KUBE, "WorkerDollars=0.98").returncode == 0
    assert yaml.safe_load_all(out.read_text())
    alone = run_cluster("check", str(out))
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert "$0.20 per hour with the head alone, $8.04 at full size" in alone.stdout
    study = ["--study", "srem_ablation", "--profile", "laptop", "--data", str(tiny_data), "--set", "train.batch=8"]
    whole = run_cluster("check", str(out), *study, "--out", str(tmp_path / "run"), "--max-cost", "20")
    assert (whole.returncode, whole.stderr) == (2, f"error: {out}: 1 check failed\n")
    assert "--out s3://BUCKET/RUN" in whole.stdout.replace("\n", " ")
    assert "lasts 2.5 hours" in whole.stdout
    assert "68 images of 4 classes" in whole.stdout


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("authOptions: { mode: token }", "authOptions: { mode: disabled }", "anyone who reaches Ray can run code"),
        ("serviceType: ClusterIP", "serviceType: LoadBalancer", "open to others"),
        (
            "matchLabels: { ray.io/cluster: raysearch }\n  policyTypes",
            "matchLabels: { a: b }\n  policyTypes",
            "every pod",
        ),
        ('limits: { cpu: "7", memory: 26Gi, nvidia.com/gpu: "1" }', 'limits: { cpu: "7" }', "no type of node has room"),
    ],
)
def test_an_unsafe_or_too_small_kubernetes_file_fails(tmp_path: Path, before: str, after: str, problem: str) -> None:
    out = tmp_path / "my-cluster.yaml"
    filled(out, *KUBE, "WorkerDollars=0.98")
    text = out.read_text()
    assert before in text
    out.write_text(text.replace(before, after))
    process = run_cluster("check", str(out))
    assert problem in process.stdout
    assert process.returncode == 2


def test_the_on_premises_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # which has no token, whatever earlier tests left in theirs
    process = run_cluster("check", "clusters/on_prem.yaml")
    assert process.returncode == 2
    assert "no token at" in process.stdout.replace("\n", " ")
    assert "ray 2.60.0, as here" in process.stdout
    assert "machines of your own" in process.stdout


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    assert run_cluster("check", "nowhere.yaml").stderr == "error: cannot read nowhere.yaml: No such file or directory\n"
    alone = run_cluster("check", "clusters/kuberay.yaml", "--study", "srem_ablation")
    assert alone.stderr == "error: --study needs --data: the study's plan depends on the data\n"
    half = run_cluster("fill", "clusters/aws.yaml", str(tmp_path / "x.yaml"), "--stack", "raysearch")
    assert half.stderr == "error: --stack and --region go together\n"


def test_a_slurm_job_is_written_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "my job.sbatch"
    words = ["srem_ablation", str(file), "--out", str(tmp_path / "run"), "--jobs", "4", "--gpus", "1"]
    process = run_cluster("slurm", *words, "--seeds", "3", "--cell-minutes", "30")
    assert process.returncode == 0, process.stderr
    assert "PASS  study     srem_ablation: " in process.stdout
    assert "4 at a time" in process.stdout
    assert "GPU hours" in process.stdout
    text = file.read_text()
    assert "\n#SBATCH --array=0-3\n" in text
    assert f"set -- srem_ablation --out {tmp_path / 'run'} --seeds 3" in text
    refused = run_cluster("slurm", "srem_ablatio", *words[1:])
    assert refused.returncode == 2
    assert "did you mean 'srem_ablation'" in refused.stdout
    assert refused.stderr.splitlines()[-1].endswith("1 check failed")


def test_a_slurm_run_needs_a_job() -> None:
    process = run_cluster("slurm-run", "--", "true")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "error: this is not a SLURM job; submit it with: sbatch clusters/slurm.sbatch STUDY\n"
