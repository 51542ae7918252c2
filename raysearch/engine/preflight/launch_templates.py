"""Checks of what the stack of clusters/aws/account.yaml made in the account of a cluster file.

The file names launch templates. Ray takes from them what AWS gave a name to: image, security group and role. It starts
nodes in any subnet of the security group's network, unless the file names subnets.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from raysearch.core import UserError
from raysearch.engine.preflight import aws
from raysearch.engine.preflight.check_result import CheckResult, passed, warned

_FIELDS = ("ImageId", "SecurityGroupIds", "IamInstanceProfile")
_STACK = "raysearch"  # its name, and the cluster's, in clusters/aws.yaml
_NOT_FOUND = "InvalidLaunchTemplateName.NotFoundException"


def check_account(config: Mapping[str, Any], region: str) -> Iterator[CheckResult]:
    """Check launch templates and subnets of a file for AWS, and the region of this machine's AWS CLI.

    Args:
        config: content of the file.
        region: of the file.

    Raises:
        UserError: a launch template is missing or incomplete, a subnet is public, or AWS does not answer.
    """
    _check_region_of_cli(config, region)
    client = aws.connect("ec2", region)
    sections = (config.get("available_node_types") or {}).values()
    node_configs = [section.get("node_config") or {} for section in sections]
    templates = {
        _name_of(node["LaunchTemplate"]): node["LaunchTemplate"] for node in node_configs if _has_template(node)
    }
    hint = _deploy_hint(str(config.get("cluster_name", _STACK)), region)
    contents = {name: _read_template(client, template, f"in {region}", hint) for name, template in templates.items()}
    for name, content in contents.items():
        missing = [field for field in _FIELDS if not content.get(field)]
        if missing:
            raise UserError(f"launch template {name} has no {', '.join(missing)}; {hint}")
    if templates:
        yield passed("account", f"launch templates {', '.join(templates)} have image, security group and role")
    without_subnets = [node for node in node_configs if _has_template(node) and not node.get("SubnetIds")]
    if without_subnets:
        groups = {group for node in without_subnets for group in _groups(node, contents)}
        yield from _check_network(client, config, sorted(groups))


def _has_template(node: Mapping[str, Any]) -> bool:
    return isinstance(node.get("LaunchTemplate"), Mapping)


def _name_of(template: Mapping[str, Any]) -> str:
    return str(template.get("LaunchTemplateName") or template.get("LaunchTemplateId"))


def _groups(node: Mapping[str, Any], contents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the security groups of a node. Those of the file replace those of the launch template, as in Ray."""
    return node.get("SecurityGroupIds") or contents[_name_of(node["LaunchTemplate"])]["SecurityGroupIds"]


def _check_region_of_cli(config: Mapping[str, Any], region: str) -> None:
    """Check that `aws ssm` reaches the region of the file, where the file leaves the region to the AWS CLI.

    Raises:
        UserError: the CLI has another region, or none.
    """
    command = str((config.get("auth") or {}).get("ssh_proxy_command", ""))
    if not command.startswith("aws ") or "--region" in command:
        return
    region_of_cli = os.environ.get("AWS_REGION") or aws.import_boto3().Session().region_name
    if region_of_cli != region:
        raise UserError(
            f"provider.region is {region}, but the AWS CLI logs in through {region_of_cli or 'no region'}; "
            f"export AWS_REGION={region} AWS_DEFAULT_REGION={region}, or change the file"
        )


def _read_template(client: Any, template: Mapping[str, Any], where: str, hint: str) -> dict[str, Any]:
    """Return the content of a launch template, in the version that Ray would take.

    Args:
        client: of EC2.
        template: its name and version, as the file has them.
        where: the region, in words.
        hint: what to do if there is none.

    Raises:
        UserError: there is none, or AWS does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    names = {key: value for key, value in template.items() if key != "Version"}
    versions = [str(template.get("Version", "$Default"))]
    try:
        description = client.describe_launch_template_versions(**names, Versions=versions)
    except (BotoCoreError, ClientError) as error:
        if getattr(error, "response", {}).get("Error", {}).get("Code") == _NOT_FOUND:
            raise UserError(f"no launch template {_name_of(template)} {where}; {hint}") from None
        raise UserError(f"cannot read launch template {_name_of(template)} {where} from AWS: {error}") from None
    return description["LaunchTemplateVersions"][0]["LaunchTemplateData"]


def _deploy_hint(name: str, region: str) -> str:
    """Return the command that makes the account's stack for a cluster of this name."""
    override = "" if name == _STACK else f" --parameter-overrides ClusterName={name}"
    return (
        f"make the account's stack: aws cloudformation deploy --region {region} --stack-name {name} "
        f"--template-file clusters/aws/account.yaml --capabilities CAPABILITY_IAM{override}"
    )


def _check_network(client: Any, config: Mapping[str, Any], groups: list[str]) -> Iterator[CheckResult]:
    """Check the subnets that Ray may take, of the security groups' network.

    Raises:
        UserError: a subnet gives public addresses, or AWS does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        networks = {group["VpcId"] for group in client.describe_security_groups(GroupIds=groups)["SecurityGroups"]}
        filters = [{"Name": "vpc-id", "Values": sorted(networks)}]
        subnets = client.describe_subnets(Filters=filters)["Subnets"]
    except (BotoCoreError, ClientError) as error:
        raise UserError(f"cannot read the subnets from AWS: {error}") from None
    fill = "write a copy that names yours: python -m raysearch.cluster fill --help"
    public = [subnet["SubnetId"] for subnet in subnets if subnet.get("MapPublicIpOnLaunch")]
    if public:
        raise UserError(f"Ray would use {', '.join(public)}, which give nodes public addresses; {fill}")
    tag = {"Key": "ray-cluster-name", "Value": config.get("cluster_name")}
    foreign = [subnet["SubnetId"] for subnet in subnets if tag not in subnet.get("Tags", [])]
    if foreign:
        yield warned("account", f"Ray would use all subnets of the network, also {', '.join(foreign)}; {fill}")
    else:
        yield passed("account", "no subnet of the network gives public addresses")
