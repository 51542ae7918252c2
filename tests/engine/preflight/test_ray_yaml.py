"""Each problem of a cluster file is found; the shipped file has none."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysearch.core import UserError
from raysearch.engine.preflight import ray_yaml

SHIPPED = Path(__file__).parents[3] / "clusters" / "aws.yaml"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o600)
    return tmp_path


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    return yaml.safe_load(SHIPPED.read_text())


def head(config: dict[str, Any]) -> dict[str, Any]:
    return config["available_node_types"]["head"]["node_config"]


def test_the_shipped_file_has_no_problem_as_it_is(home: Path, shipped: dict[str, Any]) -> None:
    assert ray_yaml.find_problems(shipped, home) == []


def test_a_copy_for_another_name_differs_in_the_lines_that_say_so(home: Path, shipped: dict[str, Any]) -> None:
    values = {"ClusterName": "birds", "Region": "eu-central-1", "Subnets": "subnet-1,subnet-2"}
    filled = yaml.safe_load(ray_yaml.fill_placeholders(SHIPPED.read_text(), values))
    assert ray_yaml.find_problems(filled, home) == []
    expected = copy.deepcopy(shipped)
    expected["cluster_name"] = "birds"
    expected["provider"].update(region="eu-central-1", key_pair={"key_name": "birds"})
    for name, section in expected["available_node_types"].items():
        node = section["node_config"]
        node["SubnetIds"] = ["subnet-1", "subnet-2"]
        template = "birds-head" if name == "head" else "birds-worker"
        node["LaunchTemplate"] = {"LaunchTemplateName": template, "Version": "$Latest"}
        node["TagSpecifications"] = [
            {"ResourceType": "volume", "Tags": [{"Key": "ray-cluster-name", "Value": "birds"}]}
        ]
    assert filled == expected


@pytest.mark.parametrize(
    ("problem", "change"),
    [
        ("file_mounts: no node gets the token", lambda c: c["file_mounts"].pop("~/.ray/auth_token")),
        ("no token at /nowhere", lambda c: c["file_mounts"].update({"~/.ray/auth_token": "/nowhere"})),
        (
            "head_start_ray_commands: no command starts Ray",
            lambda c: c.update(head_start_ray_commands=["ray stop"]),
        ),
        (
            "worker_start_ray_commands: RAY_AUTH_MODE=token is missing",
            lambda c: c.update(worker_start_ray_commands=["ray start --address=$RAY_HEAD_IP:6379"]),
        ),
        (
            "head_start_ray_commands: --dashboard-host=0.0.0.0",
            lambda c: c.update(head_start_ray_commands=["RAY_AUTH_MODE=token ray start --dashboard-host=0.0.0.0"]),
        ),
        ("head_start_ray_commands: RAY_AUTH_MODE", lambda c: c.pop("head_start_ray_commands")),
        ("provider: use_internal_ips", lambda c: c["provider"].pop("use_internal_ips")),
        ("provider: cache_stopped_nodes", lambda c: c["provider"].pop("cache_stopped_nodes")),
        (
            "provider: security_group opens port 22",
            lambda c: c["provider"].update(
                security_group={"IpPermissions": [{"FromPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]}
            ),
        ),
        ("head: ImageId is missing", lambda c: head(c).pop("LaunchTemplate")),
        ("head: SecurityGroupIds is missing", lambda c: head(c).update(LaunchTemplate={}, SecurityGroupIds=[])),
        ("head: IamInstanceProfile is missing", lambda c: head(c).pop("LaunchTemplate")),
        ("head: MetadataOptions", lambda c: head(c)["MetadataOptions"].update(HttpTokens="optional")),
        ("head: BlockDeviceMappings", lambda c: head(c)["BlockDeviceMappings"][0]["Ebs"].pop("Encrypted")),
        ("head: MetadataOptions needs HttpPut", lambda c: head(c)["MetadataOptions"].update(HttpPutResponseHopLimit=2)),
        ("head: MetadataOptions needs HttpPut", lambda c: head(c)["MetadataOptions"].pop("HttpPutResponseHopLimit")),
        ("head: BlockDeviceMappings", lambda c: head(c).pop("BlockDeviceMappings")),
        (
            "min_workers: Ray rejects it",
            lambda c: c["available_node_types"]["head"].update(min_workers="many"),
        ),
        ("the file: Ray rejects it", lambda c: c.update(autoscaling_mode="aggressive")),
        ("Ray rejects the file", lambda c: c.pop("provider")),
        ("Ray rejects the file", lambda c: c["provider"].update(type="cloud")),
    ],
)
def test_each_problem_is_found(
    home: Path, shipped: dict[str, Any], problem: str, change: Callable[[dict[str, Any]], object]
) -> None:
    config = copy.deepcopy(shipped)
    change(config)
    problems = ray_yaml.find_problems(config, home)
    assert any(problem in line for line in problems), problems


def test_a_token_that_other_users_can_read(home: Path, shipped: dict[str, Any]) -> None:
    (home / ".ray" / "auth_token").chmod(0o640)
    assert ray_yaml.find_problems(shipped, home) == [
        f"other users can read {home}/.ray/auth_token; chmod 600 {home}/.ray/auth_token"
    ]


def test_a_file_that_is_not_a_cluster_file(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    with pytest.raises(UserError, match="cannot read"):
        ray_yaml.read_cluster_file(file)
    file.write_text("{")
    with pytest.raises(UserError, match="not YAML"):
        ray_yaml.read_cluster_file(file)
    file.write_text("!!python/object/apply:os.system [touch /tmp/no]")
    with pytest.raises(UserError, match="not YAML"):
        ray_yaml.read_cluster_file(file)
    file.write_text("- a list")
    with pytest.raises(UserError, match="not a cluster file"):
        ray_yaml.read_cluster_file(file)


def test_placeholders_in_comments_stay() -> None:
    assert ray_yaml.fill_placeholders("# <Region>\nregion: <Region>\nx: <Other>", {"Region": "eu"}) == (
        "# <Region>\nregion: eu\nx: <Other>"
    )
