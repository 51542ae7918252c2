"""`python -m raysearch.cluster`: what it says of files, as a user calls it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBE = ["Image=r/raysearch:1", "Bucket=s3://birds", "Study=srem_ablation", "MaxCost=20", "HeadDollars=0.2"]


def cluster(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raysearch.cluster", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


def filled(out: Path, *values: str) -> subprocess.CompletedProcess[str]:
    words = [word for value in values for word in ("--set", value)]
    return cluster("fill", "clusters/kuberay.yaml", str(out), *words)


def test_a_file_for_kubernetes_is_filled_and_checked_with_its_study(tmp_path: Path, tiny_data: Path) -> None:
    out = tmp_path / "my-cluster.yaml"
    missing = filled(out, *KUBE)
    assert (missing.returncode, missing.stderr) == (
        2,
        "error: nothing to put into WorkerDollars; give --set WorkerDollars=...\n",
    )
    assert not out.exists()
    assert filled(out, *KUBE, "WorkerDollars=0.98").returncode == 0
    assert yaml.safe_load_all(out.read_text())
    alone = cluster("check", str(out))
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert "$0.20 an hour with the head alone, $8.04 at full size" in alone.stdout
    study = ["--study", "srem_ablation", "--profile", "laptop", "--data", str(tiny_data), "--set", "train.batch=8"]
    whole = cluster("check", str(out), *study, "--out", str(tmp_path / "run"), "--max-cost", "20")
    assert (whole.returncode, whole.stderr) == (2, f"error: {out}: 1 to put right\n")
    assert "--out s3://BUCKET/RUN" in whole.stdout.replace("\n", " ")
    assert "lasts 2.5 hours" in whole.stdout
    assert "68 images of 4 classes" in whole.stdout


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("authOptions: { mode: token }", "authOptions: { mode: disabled }", "run what anybody sends"),
        ("serviceType: ClusterIP", "serviceType: LoadBalancer", "open to others"),
        (
            "matchLabels: { ray.io/cluster: raysearch }\n  policyTypes",
            "matchLabels: { a: b }\n  policyTypes",
            "every pod",
        ),
        ('limits: { cpu: "7", memory: 26Gi, nvidia.com/gpu: "1" }', 'limits: { cpu: "7" }', "no kind of node has room"),
    ],
)
def test_what_lets_others_in_or_holds_nobody_is_said(tmp_path: Path, before: str, after: str, says: str) -> None:
    out = tmp_path / "my-cluster.yaml"
    filled(out, *KUBE, "WorkerDollars=0.98")
    text = out.read_text()
    assert before in text
    out.write_text(text.replace(before, after))
    found = cluster("check", str(out))
    assert says in found.stdout
    assert found.returncode == 2


def test_the_file_of_machines_of_one_s_own(tmp_path: Path) -> None:
    found = cluster("check", "clusters/on_prem.yaml")
    # the test's home has no token
    assert found.returncode == 2
    assert "no token at" in found.stdout.replace("\n", " ")
    assert "ray 2.60.0, as here" in found.stdout
    assert "machines of your own" in found.stdout


def test_wrong_words_are_one_line(tmp_path: Path) -> None:
    assert cluster("check", "nowhere.yaml").stderr == "error: cannot read nowhere.yaml: No such file or directory\n"
    alone = cluster("check", "clusters/kuberay.yaml", "--study", "srem_ablation")
    assert alone.stderr == "error: --study needs --data: what fits depends on it\n"
    half = cluster("fill", "clusters/aws.yaml", str(tmp_path / "x.yaml"), "--stack", "raysearch")
    assert half.stderr == "error: --stack and --region go together\n"
