"""The account behind a cluster file: a missing stack, one that is too old, other regions, public subnets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from raysearch.core import UserError
from raysearch.engine.preflight import launch_templates
from raysearch.engine.preflight.check_result import CheckResult, CheckStatus
from tests.clusters import account_stack

SHIPPED = Path(__file__).parents[3] / "clusters" / "aws.yaml"
REGION = account_stack.REGION


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load(SHIPPED.read_text())


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)


def check(config: dict[str, Any]) -> list[CheckResult]:
    return list(launch_templates.check_account(config, config["provider"]["region"]))


def test_without_the_stack_the_command_that_makes_it_is_named(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no launch template raysearch-head in us-west-2;") as error:
        check(config)
    command = (
        "aws cloudformation deploy --region us-west-2 --stack-name raysearch --template-file clusters/aws/account.yaml"
    )
    assert str(error.value).endswith(f"{command} --capabilities CAPABILITY_IAM")
    config["cluster_name"] = "birds"
    config["available_node_types"]["head"]["node_config"]["LaunchTemplate"]["LaunchTemplateName"] = "birds-head"
    with pytest.raises(
        UserError, match=r"birds-head .* --stack-name birds .* --parameter-overrides ClusterName=birds$"
    ):
        check(config)


def test_the_stack_is_all_that_the_file_needs(config: dict[str, Any]) -> None:
    account_stack.create(client)
    results = check(config)
    assert {result.status for result in results} == {CheckStatus.PASS}
    assert "raysearch-head, raysearch-worker" in results[0].message


def test_a_launch_template_without_a_role(config: dict[str, Any]) -> None:
    account_stack.create(client)
    client("ec2").create_launch_template_version(
        LaunchTemplateName="raysearch-worker", LaunchTemplateData={"ImageId": "ami-1", "SecurityGroupIds": ["sg-1"]}
    )
    with pytest.raises(
        UserError, match="launch template raysearch-worker has no IamInstanceProfile; make the account's"
    ):
        check(config)


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_cli_logs_in_through_the_region_of_the_file(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    account_stack.create(client)
    monkeypatch.setenv(variable, "eu-central-1")
    with pytest.raises(
        UserError, match="is us-west-2, but the AWS CLI logs in through eu-central-1; export AWS_REGION="
    ):
        check(config)
    config["auth"]["ssh_proxy_command"] += " --region us-west-2"
    assert check(config)


def test_ray_would_take_every_subnet_of_a_network(config: dict[str, Any]) -> None:
    """A network of the owner's may have public subnets, unless the file names those that Ray may take."""
    network = account_stack.make_network(client)
    account_stack.create(client, parameters=network)
    assert [result.status for result in check(config)] == [CheckStatus.PASS, CheckStatus.WARN]
    subnet = network["Subnets"].split(",")[0]
    client("ec2").modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    with pytest.raises(UserError, match=f"Ray would use {subnet}, which give nodes public addresses"):
        check(config)
    for section in config["available_node_types"].values():
        section["node_config"]["SubnetIds"] = network["Subnets"].split(",")[1:]
    assert [result.status for result in check(config)] == [CheckStatus.PASS]
