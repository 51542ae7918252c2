"""`python -m raysearch.cluster` as a user calls it, and how it fills a file from a stack."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from raysearch import cluster
from raysearch.core.errors import UserError
from raysearch.engine.preflight import ray_yaml

from .clusters import stack

SHIPPED = Path(__file__).parents[1] / "clusters" / "aws.yaml"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield


def client(service: str) -> Any:
    return boto3.client(service, region_name=stack.REGION)


def test_check_lists_what_is_open_and_ends_with_one_line() -> None:
    words = [sys.executable, "-m", "raysearch.cluster", "check", str(SHIPPED)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert any(line.endswith("<ImageId> is still open") for line in done.stdout.splitlines())
    assert done.stderr.splitlines()[-1].endswith("to put right")
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("aws")
def test_fill_puts_the_outputs_in(tmp_path: Path) -> None:
    stack.make(client)
    out = tmp_path / "mine.yaml"
    cluster.fill(SHIPPED, out, "raysearch", stack.REGION)
    config, made = ray_yaml.read_cluster_file(out), stack.outputs(client)
    assert ray_yaml.open_placeholders(config) == []
    assert config["provider"]["region"] == stack.REGION
    kinds = config["available_node_types"]
    profiles = {name: one["node_config"]["IamInstanceProfile"]["Arn"] for name, one in kinds.items()}
    assert profiles.pop("head") == made["HeadProfile"]
    assert set(profiles.values()) == {made["WorkerProfile"]}
    assert kinds["spot_g5"]["node_config"]["SubnetIds"] == made["Subnets"].split(",")


@pytest.mark.usefixtures("aws")
def test_public_subnets_are_refused(tmp_path: Path) -> None:
    stack.make(client, public=True)
    with pytest.raises(UserError, match=r"us-west-2a.* gives its nodes public addresses"):
        cluster.fill(SHIPPED, tmp_path / "mine.yaml", "raysearch", stack.REGION)
    assert not (tmp_path / "mine.yaml").exists()


@pytest.mark.usefixtures("aws")
def test_a_stack_that_is_not_there_and_a_place_that_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="AWS does not tell about stack 'raysearch' in us-west-2"):
        cluster.fill(SHIPPED, tmp_path / "mine.yaml", "raysearch", stack.REGION)
    stack.make(client)
    changed = tmp_path / "changed.yaml"
    changed.write_text(SHIPPED.read_text() + "metadata: {owner: <Owner>}\n")
    with pytest.raises(UserError, match="has no output Owner"):
        cluster.fill(changed, tmp_path / "mine.yaml", "raysearch", stack.REGION)
