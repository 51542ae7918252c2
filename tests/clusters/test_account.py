"""clusters/aws/account.yaml: what it makes in an account, and what its roles may not do."""

import ipaddress
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from . import account_stack, iam_policies

OWN = {"ray-cluster-name": "raysearch"}
FOREIGN = {"ray-cluster-name": "payroll"}
TAGS = {"i-own": OWN, "i-foreign": FOREIGN}


class Account:
    """The account after the stack was made."""

    def __init__(self) -> None:
        self.vpc = account_stack.create(self.client)
        self.outputs = account_stack.outputs(self.client)
        self.head = account_stack.role_of(self.client("iam"), self.outputs["HeadProfile"])
        self.worker = account_stack.role_of(self.client("iam"), self.outputs["WorkerProfile"])
        self.templates = account_stack.templates(self.client)
        self.policy = iam_policies.statements(self.client("iam"), self.head["RoleName"])

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=account_stack.REGION)

    def may(self, role: str | None = None, vpc: str | None = None, **form: str) -> bool:
        asked = iam_policies.parts(form, vpc or self.vpc, role or self.worker["Arn"], TAGS, self.templates)
        return iam_policies.allowed(self.policy, asked)

    def node(self) -> dict[str, str]:
        """The request that starts a worker."""
        return {
            "Action": "RunInstances",
            "InstanceType": "g6.2xlarge",
            "ImageId": self.outputs["ImageId"],
            "IamInstanceProfile.Arn": self.outputs["WorkerProfile"],
            "SecurityGroupId.1": self.outputs["SecurityGroup"],
            "LaunchTemplate.LaunchTemplateName": "raysearch-worker",
            "SubnetId": self.outputs["Subnets"].split(",")[0],
            "MetadataOptions.HttpTokens": "required",
            "BlockDeviceMapping.1.Ebs.Encrypted": "true",
            "TagSpecification.1.Tag.1.Key": "ray-cluster-name",
            "TagSpecification.1.Tag.1.Value": "raysearch",
            "KeyName": "raysearch",
        }


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.delenv("AWS_PROFILE", raising=False)
        yield Account()


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """The template as data; `!Ref x` is {"Ref": "x"}, and so on."""

    class Loader(yaml.SafeLoader):
        pass

    def short(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict[str, Any]:
        if isinstance(node, yaml.ScalarNode):
            return {name: loader.construct_scalar(node)}
        assert isinstance(node, yaml.SequenceNode)
        return {name: loader.construct_sequence(node, deep=True)}

    Loader.add_multi_constructor("!", short)
    return yaml.load(account_stack.TEMPLATE.read_text(), Loader)


def test_cloudformation_accepts_the_template() -> None:
    lint = [
        str(Path(sys.executable).with_name("cfn-lint")),
        "--regions",
        account_stack.REGION,
        "--",
        str(account_stack.TEMPLATE),
    ]
    done = subprocess.run(lint, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_head_may_start_tag_and_end_its_own_nodes(account: Account) -> None:
    assert account.may(**account.node())
    assert account.may(**account.node() | {"InstanceType": "g5.2xlarge"})
    assert account.may(**account.node() | {"InstanceType": "g6e.2xlarge"})
    assert account.may(Action="DescribeInstances")
    assert account.may(Action="TerminateInstances", **{"InstanceId.1": "i-own"})
    tag = {"ResourceId.1": "i-own", "Tag.1.Key": "ray-node-status", "Tag.1.Value": "up-to-date"}
    assert account.may(Action="CreateTags", **tag)


@pytest.mark.parametrize(
    "change",
    [
        {"InstanceType": "p5.48xlarge"},
        {"IamInstanceProfile.Arn": "arn:aws:iam::123456789012:instance-profile/admin"},
        {"MetadataOptions.HttpTokens": "optional"},
        {"BlockDeviceMapping.1.Ebs.Encrypted": "false"},
        {"TagSpecification.1.Tag.1.Value": "payroll"},
        {"ImageId": "ami-0000000000000000f"},
        {"SecurityGroupId.1": "sg-0000000000000000f"},
        {"KeyName": "payroll"},
        {"LaunchTemplate.LaunchTemplateName": "raysearch-head"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_head_may_start_no_other_nodes(account: Account, change: dict[str, str]) -> None:
    assert not account.may(**account.node() | change)


def test_the_head_may_not_touch_what_is_not_its_own(account: Account) -> None:
    assert not account.may(vpc="vpc-of-payroll", **account.node())
    assert not account.may(role=account.head["Arn"], **account.node())
    assert not account.may(role="arn:aws:iam::123456789012:role/admin", **account.node())
    assert not account.may(Action="TerminateInstances", **{"InstanceId.1": "i-foreign"})
    assert not account.may(Action="TerminateInstances", **{"InstanceId.1": "i-own", "InstanceId.2": "i-foreign"})
    assert not account.may(Action="StopInstances", **{"InstanceId.1": "i-own"})
    take = {"Tag.1.Key": "ray-cluster-name", "Tag.1.Value": "raysearch"}
    assert not account.may(Action="CreateTags", **{"ResourceId.1": "i-foreign"} | take)
    give = {"Tag.1.Key": "ray-cluster-name", "Tag.1.Value": "payroll"}
    assert not account.may(Action="CreateTags", **{"ResourceId.1": "i-own"} | give)


def test_rights_are_named_one_by_one(template: dict[str, Any]) -> None:
    made = template["Resources"]
    for name in ("HeadRole", "WorkerRole"):
        assert made[name]["Properties"]["ManagedPolicyArns"] == [{"Ref": "StorageAccess"}], "no policies of AWS's own"
        trusted = made[name]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert [one["Principal"] for one in trusted] == [{"Service": "ec2.amazonaws.com"}]
    assert "Policies" not in made["WorkerRole"]["Properties"]
    head = [one["PolicyDocument"] for one in made["HeadRole"]["Properties"]["Policies"]]
    storage = made["StorageAccess"]["Properties"]["PolicyDocument"]
    statements = [statement for document in (*head, storage) for statement in document["Statement"]]
    actions = [action for statement in statements for action in iam_policies.listed(statement["Action"])]
    assert not [action for action in actions if "*" in action]
    everywhere = [
        action
        for statement in statements
        if statement["Resource"] == "*"
        for action in iam_policies.listed(statement["Action"])
    ]
    assert all(action.split(":")[1].startswith(("Describe", "Update", "Create", "Open")) for action in everywhere)
    assert {action.split(":")[0] for action in everywhere} == {"ec2", "ssm", "ssmmessages"}
    assert not [action for action in everywhere if action.startswith("ec2:") and "Describe" not in action]


def test_data_is_read_and_results_are_written(template: dict[str, Any]) -> None:
    statements = template["Resources"]["StorageAccess"]["Properties"]["PolicyDocument"]["Statement"]
    rights = {
        statement["Sid"]: (statement["Resource"], iam_policies.listed(statement["Action"])) for statement in statements
    }
    assert rights["ReadData"] == ({"Sub": "${Storage.Arn}/data/*"}, ["s3:GetObject"])
    where, what = rights["WriteResults"]
    assert where == {"Sub": "${Storage.Arn}/results/*"}
    assert {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"} < set(what)
    assert set(rights) == {"List", "ReadData", "WriteResults"}


def test_nobody_outside_reaches_a_node(account: Account) -> None:
    group = account.outputs["SecurityGroup"]
    found = account.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    assert [[one["GroupId"] for one in rule["UserIdGroupPairs"]] for rule in found["IpPermissions"]] == [[group]]
    assert not [rule for rule in found["IpPermissions"] if rule["IpRanges"] or rule["Ipv6Ranges"]]


def test_nodes_call_out_by_https_alone(template: dict[str, Any]) -> None:
    (rule,) = template["Resources"]["Nodes"]["Properties"]["SecurityGroupEgress"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 443, 443)


def test_the_bucket_is_encrypted_private_and_stays(account: Account, template: dict[str, Any]) -> None:
    rules = account.client("s3").get_bucket_encryption(Bucket="birds-and-results")["ServerSideEncryptionConfiguration"]
    assert rules["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    bucket = template["Resources"]["Storage"]
    assert bucket["DeletionPolicy"] == "Retain"
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["Properties"]["PublicAccessBlockConfiguration"]) == 4
    assert "VersioningConfiguration" not in bucket["Properties"]
    refused = template["Resources"]["StoragePolicy"]["Properties"]["PolicyDocument"]["Statement"][0]
    assert refused["Effect"] == "Deny"
    assert refused["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_launch_templates_hold_what_aws_gave_a_name_to(account: Account) -> None:
    for name, profile in (("raysearch-head", "HeadProfile"), ("raysearch-worker", "WorkerProfile")):
        versions = account.client("ec2").describe_launch_template_versions(LaunchTemplateName=name)
        assert versions["LaunchTemplateVersions"][0]["LaunchTemplateData"] == {
            "ImageId": account.outputs["ImageId"],
            "SecurityGroupIds": [account.outputs["SecurityGroup"]],
            "IamInstanceProfile": {"Arn": account.outputs[profile]},
        }


def test_its_network_gives_no_public_addresses(account: Account) -> None:
    subnets = account.client("ec2").describe_subnets(Filters=[{"Name": "vpc-id", "Values": [account.vpc]}])["Subnets"]
    assert [subnet["MapPublicIpOnLaunch"] for subnet in subnets] == [False] * 4
    private = account.outputs["Subnets"].split(",")
    zones = [subnet["AvailabilityZone"] for subnet in subnets if subnet["SubnetId"] in private]
    assert sorted(zones) == list(account_stack.ZONES)


def test_nodes_reach_out_by_nat_and_none_finds_an_address_in_its_subnet(template: dict[str, Any]) -> None:
    """By the template's text: moto makes neither associations of routes nor the interface's further addresses."""
    made = {name: resource.get("Properties", {}) for name, resource in template["Resources"].items()}
    for subnet in ("SubnetA", "SubnetB", "SubnetC"):
        assert made[f"{subnet}Routes"] == {"SubnetId": {"Ref": subnet}, "RouteTableId": {"Ref": "PrivateRoutes"}}
    assert made["WayOut"]["RouteTableId"] == {"Ref": "PrivateRoutes"}
    assert made["WayOut"]["NatGatewayId"] == {"Ref": "Nat"}
    assert made["Nat"]["SubnetId"] == made["NatSubnetIsFull"]["SubnetId"] == {"Ref": "NatSubnet"}
    addresses = ipaddress.ip_network(made["NatSubnet"]["CidrBlock"]).num_addresses
    kept_by_aws = 5
    assert 1 + made["NatSubnetIsFull"]["SecondaryPrivateIpAddressCount"] + 1 == addresses - kept_by_aws
    assert template["Resources"]["NatSubnetIsFull"]["DependsOn"] == "Nat", "the gateway comes first"


def test_a_network_of_its_owner_is_left_as_it_is(account: Account) -> None:
    gateways = account.client("ec2").describe_nat_gateways()["NatGateways"]
    network = account_stack.make_network(account.client)
    parameters = {**network, "ClusterName": "birds", "Bucket": "birds"}
    assert account_stack.create(account.client, "birds", parameters) == network["Vpc"]
    assert account_stack.outputs(account.client, "birds")["Subnets"] == network["Subnets"]
    assert account.client("ec2").describe_nat_gateways()["NatGateways"] == gateways
    assert {"birds-head", "birds-worker"} <= account_stack.templates(account.client).keys()


def test_its_bucket_has_a_name_of_the_account(template: dict[str, Any], account: Account) -> None:
    name = template["Resources"]["Storage"]["Properties"]["BucketName"]["If"]
    assert name == ["HasBucketName", {"Ref": "Bucket"}, {"Sub": "raysearch-${AWS::AccountId}-${AWS::Region}"}]
    assert account.outputs["BucketUri"] == "s3://birds-and-results"
