"""clusters/aws.yaml: Ray accepts it, asks for spot nodes first, and `ray up` makes what the file states.

`ray up` runs once, in the fake AWS of fake_aws.py, for all tests that look at the result.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import GangResourceRequest

from raysearch.engine.cluster import memory
from raysearch.engine.preflight import ray_yaml, supply_chain

from . import iam_policies

FILE = Path(__file__).parents[2] / "clusters" / "aws.yaml"
UNSHARE = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]


@functools.cache
def _may_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARE, "ip", "link"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


def test_ray_accepts_the_file(config: dict[str, Any]) -> None:
    assert ray_yaml.open_placeholders(config) == []
    prepared = prepare_config(config)
    validate_config(prepared)
    node_types = prepared["available_node_types"]
    assert node_types["head"]["max_workers"] == 0
    templates = {name: one["node_config"]["LaunchTemplate"]["LaunchTemplateName"] for name, one in node_types.items()}
    assert templates.pop("head") == "raysearch-head"
    assert set(templates.values()) == {"raysearch-worker"}
    market = {name: one["node_config"].get("InstanceMarketOptions", {}) for name, one in node_types.items()}
    assert {name for name, one in market.items() if one} == {"spot_g6", "spot_g5", "spot_g6e"}
    # Ray would put its own where one is missing: an image of 2018, a nightly build, a public dashboard.
    assert not [one for field, one in prepared.items() if field.endswith("commands") and "ray-wheels" in str(one)]


def test_the_region_is_one_line() -> None:
    assert [
        line.split("#")[0].strip() for line in FILE.read_text().splitlines() if "us-west-2" in line.split("#")[0]
    ] == ["region: us-west-2"]


def test_each_node_is_labeled_with_its_price_and_larger_gpus_are_off(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    for section in types.values():
        assert section["labels"]["instance-type"] == section["node_config"]["InstanceType"]
    off = {section["node_config"]["InstanceType"] for section in types.values() if section.get("max_workers") == 0}
    assert off == {"g5.2xlarge", "g6e.2xlarge"}


def test_versions_are_those_that_are_tested(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    import torch

    monkeypatch.chdir(FILE.parents[1])  # `ray up` and the check run in the checkout
    versions = supply_chain.pinned_versions(config)
    assert versions["ray"] == ray.__version__
    assert versions["torch"] == torch.__version__.split("+")[0]


@pytest.mark.parametrize(
    ("short", "a10g", "expected"),
    [
        ((), 0, "spot_g6"),
        (("spot_g6",), 0, "on_demand_g6"),  # one type of GPU, unless the other is let in
        (("spot_g6",), 8, "spot_g5"),
        (("spot_g6", "spot_g5"), 8, "on_demand_g6"),
    ],
    ids=["all", "no spot", "no g6", "no spot of two types"],
)
def test_spot_comes_first_and_on_demand_when_there_is_none(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, short: tuple[str, ...], a10g: int, expected: str
) -> None:
    """By Ray's own scheduler, asked for a trial's worker when AWS had none left of some types a moment ago."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    assert config["available_node_types"]["spot_g5"]["max_workers"] == 0
    config["available_node_types"]["spot_g5"]["max_workers"] = a10g
    with mock_aws():
        with_sizes = AWSNodeProvider.fillout_available_node_types_resources(config)
    kinds = AutoscalingConfig(with_sizes, skip_content_hash=True).get_node_type_configs()
    worker = ResourceRequestUtil.make({"CPU": 1, "GPU": 1, "memory": 1 << 20})
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=kinds,
        max_num_nodes=config["max_workers"] + 1,
        gang_resource_requests=[GangResourceRequest(requests=[worker])],
        recoverable_resource_availabilities=dict.fromkeys(short, 0.0),
    )
    reply = ResourceDemandScheduler(event_logger=None).schedule(request)
    workers = [one for one in reply.to_launch if one.instance_type != "head"]
    assert [(one.instance_type, one.count) for one in workers] == [(expected, 1)]


def test_all_nodes_start_at_once_and_the_head_holds_the_actors_of_their_trials(config: dict[str, Any]) -> None:
    """Two trials per node, by half GPUs; Ray leaves 70 % of a machine's memory to actors."""
    head = config["available_node_types"]["head"]["node_config"]["InstanceType"]
    gib = {"m7i.2xlarge": 32}[head]
    assert (0.7 * gib - 2) * 2**30 / memory.SLOT_BYTES >= 2 * config["max_workers"]
    assert config["upscaling_speed"] >= config["max_workers"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ray_up_scenario.py saw."""
    if not _may_unshare():
        pytest.skip("this machine does not let us make namespaces, without which ray up could reach the network")
    scratch = tmp_path_factory.mktemp("aws")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))}
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.clusters.ray_up_scenario", str(scratch)],
        cwd=FILE.parents[1],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return json.loads((scratch / "seen.json").read_text())


def head_and_worker(seen: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    head, worker = seen["launched"]
    return head, worker


@pytest.mark.slow
def test_a_job_brings_a_spot_node_that_joins(seen: dict[str, Any]) -> None:
    lines = seen["job"].splitlines()
    assert [line for line in lines if line.startswith("driver") and "'head'" in line]
    assert [line for line in lines if line.startswith("worker") and "'spot_g6'" in line and "'market': 'spot'" in line]
    assert "node head 0 0" in lines
    known = [line for line in lines if line.startswith("may add")]
    assert sorted(known) == ["may add 8 1 0", "may add 8 1 0", "may add 8 1 2", "may add 8 1 8"], (
        "a driver knows them before they come"
    )
    assert "node spot_g6 8.0 1.0" in lines
    head, worker = head_and_worker(seen)
    assert (head["InstanceType"], head.get("InstanceLifecycle")) == ("m7i.2xlarge", None)
    assert (worker["InstanceType"], worker["InstanceLifecycle"]) == ("g6.2xlarge", "spot")


@pytest.mark.slow
def test_nodes_are_what_the_file_says(seen: dict[str, Any]) -> None:
    made = seen["outputs"]
    for node, profile in zip(head_and_worker(seen), ("HeadProfile", "WorkerProfile"), strict=True):
        assert node["IamInstanceProfile"]["Arn"] == made[profile]
        assert [one["GroupId"] for one in node["SecurityGroups"]] == [made["SecurityGroup"]]
        assert node["SubnetId"] in made["Subnets"].split(",")
        assert node["ImageId"] == made["ImageId"]
        assert not node.get("PublicIpAddress")
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert node["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert [disk["Encrypted"] for disk in seen["volumes"]] == [True, True]


@pytest.mark.slow
def test_without_the_stack_one_line_names_the_command(seen: dict[str, Any]) -> None:
    text = " ".join(seen["check without stack"].split())
    assert text.count("FAIL") == 1
    assert "no launch template raysearch-head in us-west-2" in text
    assert "aws cloudformation deploy --region us-west-2 --stack-name raysearch" in text
    assert (
        "The specified launch template, with template name raysearch-head, does not exist." in seen["up without stack"]
    )
    elsewhere = " ".join(seen["check in another region"].split())
    assert "export AWS_REGION=us-west-2 AWS_DEFAULT_REGION=us-west-2" in elsewhere


@pytest.mark.slow
def test_no_port_was_opened_and_no_role_made(seen: dict[str, Any]) -> None:
    openings = [rule for group in seen["groups"] for rule in group["IpPermissions"]]
    assert not [rule for rule in openings if rule["IpRanges"] or rule["Ipv6Ranges"] or rule["PrefixListIds"]]
    actions = {one["action"] for one in seen["requests"]}
    assert not [one for one in actions if one.startswith("iam:") or "SecurityGroupIngress" in one]
    assert "ec2:CreateSecurityGroup" not in actions
    assert len(seen["roles"]) == 2


@pytest.mark.slow
def test_what_the_head_asked_of_aws_its_role_allows(seen: dict[str, Any]) -> None:
    tags = {one["InstanceId"]: {tag["Key"]: tag["Value"] for tag in one["Tags"]} for one in seen["launched"]}
    asked = [one["form"] for one in seen["requests"] if one["who"] == "node"]
    assert {"RunInstances", "CreateTags", "DescribeInstances"} <= {form["Action"] for form in asked}
    for form in asked:
        parts = iam_policies.parts(form, seen["vpc"], seen["worker_role"], tags, seen["templates"])
        assert iam_policies.allowed(seen["policy"], parts), form


@pytest.mark.slow
def test_people_come_through_session_manager_and_the_head_by_private_address(seen: dict[str, Any]) -> None:
    calls = [one for one in seen["calls"] if one["tool"] == "ssh"]
    head, worker = head_and_worker(seen)
    for call in calls:
        words = call["words"]
        proxied = any(word.startswith("ProxyCommand=aws ssm start-session --target") for word in words)
        if call["node"] is None:
            assert proxied
            assert f"ubuntu@{head['InstanceId']}" in words
        else:
            assert not proxied
            assert f"ubuntu@{worker['PrivateIpAddress']}" in words
    assert {call["node"] for call in calls} == {None, head["InstanceId"]}
    assert not [one for one in seen["calls"] if one["tool"] == "aws"]


@pytest.mark.slow
def test_every_node_has_token_and_code_and_nobody_else_reads_the_token(seen: dict[str, Any]) -> None:
    assert len(seen["homes"]) == 2
    for files in seen["homes"].values():
        assert files[".ray/auth_token"] == "600"
        code = {name.split("/")[1] for name in files if name.startswith("raysearch/")}
        assert code == {
            "raysearch",
            "search_spaces",
            "dashboards",
            "clusters",
            "pyproject.toml",
            "README.md",
            "LICENSE",
        }


@pytest.mark.slow
def test_without_the_token_nobody_gets_in(seen: dict[str, Any]) -> None:
    assert "other users can read" in seen["check open"]
    assert "is ready for ray up" in seen["check"]
    assert "Active:" in seen["status"]
    assert (seen["loopback"], seen["elsewhere"]) == (True, False)
    assert "Error" not in seen["with token"]
    assert "Missing authentication token" in seen["without token"]
    assert "Invalid authentication token" in seen["with wrong token"]


@pytest.mark.slow
def test_ray_down_leaves_nothing_that_costs(seen: dict[str, Any]) -> None:
    assert [one["State"]["Name"] for one in seen["left"]] == ["terminated", "terminated"]
