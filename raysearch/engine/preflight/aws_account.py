"""What AWS tells about an account, with the credentials of the environment: a stack's outputs, and the quotas."""

from typing import Any

from raysearch.core.errors import UserError
from raysearch.engine.preflight.aws_quotas import Quotas

_PATIENCE = {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 1}}


def stack_outputs(stack: str, region: str) -> dict[str, str]:
    """Output -> value of a stack, whose subnets were looked at: a node in a public one gets a public address.

    Raises:
        UserError: no such stack, AWS does not answer, a public subnet, or boto3 is not installed.
    """
    boto3 = _boto3()
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = boto3.client("cloudformation", region_name=region).describe_stacks(StackName=stack)["Stacks"][0]
        values = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
        names = values.get("Subnets", "").split(",")
        subnets = boto3.client("ec2", region_name=region).describe_subnets(SubnetIds=names)["Subnets"]
    except (BotoCoreError, ClientError) as error:
        raise UserError(f"AWS does not tell about stack '{stack}' in {region}: {error}") from None
    public = [_name(subnet) for subnet in subnets if subnet.get("MapPublicIpOnLaunch")]
    if public:
        raise UserError(f"{', '.join(public)} gives its nodes public addresses; name private subnets in the stack")
    return values


def quotas_client(region: str) -> Quotas:
    """The client that `raysearch.engine.preflight.aws_quotas` asks.

    Raises:
        UserError: boto3 is not installed.
    """
    boto3 = _boto3()
    from botocore.config import Config

    return boto3.client("service-quotas", region_name=region, config=Config(**_PATIENCE))


def _boto3() -> Any:
    try:
        import boto3
    except ImportError:
        raise UserError("boto3 is missing, which Ray needs for AWS: python -m pip install 'raysearch[aws]'") from None
    return boto3


def _name(subnet: dict[str, Any]) -> str:
    return f"{subnet['SubnetId']} in {subnet['AvailabilityZone']}"
