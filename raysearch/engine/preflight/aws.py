"""The AWS account of a cluster file: the outputs of its stack, and the quotas on what it may run.

AWS limits virtual CPUs, separately for on-demand and spot machines and for families of machines. A new account may run
no GPU machine at all. A node above a quota never starts, and a study waits for it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from raysearch.core import UserError
from raysearch.engine.cluster import prices
from raysearch.engine.cluster.capacity import largest_total
from raysearch.engine.preflight.check_result import CheckResult, failed, passed, warned
from raysearch.engine.preflight.node_types import NodeType

Quota = tuple[bool, str]  # whether it is of the spot market, and the family

_TIMEOUTS = {"connect_timeout": 5, "read_timeout": 10, "retries": {"max_attempts": 1}}  # seconds
_FAMILIES = {"g": "G and VT", "vt": "G and VT", "p": "P", **dict.fromkeys("acdhimrtz", "standard")}
_QUOTA_CODES: dict[Quota, str] = {
    (False, "standard"): "L-1216C47A",
    (False, "G and VT"): "L-DB2E81BA",
    (False, "P"): "L-417A185B",
    (True, "standard"): "L-34B43A08",
    (True, "G and VT"): "L-3819A6DF",
    (True, "P"): "L-7212CCBC",
}


class QuotasClient(Protocol):
    """The part of boto3's client of `service-quotas` that is used."""

    def get_service_quota(self, *, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:
        """Return AWS's answer, which holds the value at ["Quota"]["Value"]."""


def stack_outputs(stack: str, region: str) -> dict[str, str]:
    """Return the outputs of a CloudFormation stack by name, after a check that its subnets are private.

    Raises:
        UserError: there is no such stack, AWS does not answer, a subnet is public, or boto3 is not installed.
    """
    boto3 = import_boto3()
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        description = boto3.client("cloudformation", region_name=region).describe_stacks(StackName=stack)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}
        subnet_ids = outputs.get("Subnets", "").split(",")
        subnets = boto3.client("ec2", region_name=region).describe_subnets(SubnetIds=subnet_ids)["Subnets"]
    except (BotoCoreError, ClientError) as error:
        raise UserError(f"cannot read stack '{stack}' in {region} from AWS: {error}") from None
    public = [
        f"{subnet['SubnetId']} in {subnet['AvailabilityZone']}"
        for subnet in subnets
        if subnet.get("MapPublicIpOnLaunch")
    ]
    if public:
        raise UserError(f"{', '.join(public)} gives its nodes public addresses; use private subnets in the stack")
    return outputs


def connect(service: str, region: str) -> Any:
    """Return boto3's client of a service, which waits some seconds for an answer.

    Raises:
        UserError: boto3 is not installed.
    """
    boto3 = import_boto3()
    from botocore.config import Config

    return boto3.client(service, region_name=region, config=Config(**_TIMEOUTS))


def check_quotas(types: list[NodeType], max_nodes: int, client: QuotasClient) -> Iterator[CheckResult]:
    """Check that the account may run the nodes of a cluster file.

    Args:
        types: node types, the head first.
        max_nodes: workers of all types together.
        client: the client of the file's region.
    """
    for (spot, family), vcpus in vcpus_by_quota(types, max_nodes).items():
        code = _QUOTA_CODES[spot, family]
        name = f"{family} {'spot' if spot else 'on demand'}"
        try:
            limit = client.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
        except Exception as error:  # botocore's, which is not installed everywhere
            reason = str(error).splitlines()[0]
            yield warned("quotas", f"{name}: cannot read the quota ({reason}); the file needs {vcpus} virtual CPUs")
            continue
        summary = f"{name}: the quota is {limit:g} virtual CPUs, the file needs up to {vcpus}"
        if limit < _smallest_machine(types, spot, family):
            yield failed("quotas", f"{summary}; not one machine can start: ask AWS to raise quota {code}")
        elif limit < vcpus:
            yield warned("quotas", f"{summary}; the cluster stays smaller: ask AWS to raise quota {code}")
        else:
            yield passed("quotas", summary)


def vcpus_by_quota(types: Iterable[NodeType], max_nodes: int) -> dict[Quota, int]:
    """Return the largest number of virtual CPUs that a cluster may use of each quota.

    Args:
        types: node types, the head first.
        max_nodes: workers of all types together.

    >>> head = NodeType("head", 1, {}, "m7i.xlarge")
    >>> vcpus_by_quota([head, NodeType("gpu", 8, {}, "g6.2xlarge", spot=True)], 4)
    {(False, 'standard'): 4, (True, 'G and VT'): 32}
    """
    head_vcpus: dict[Quota, int] = {}
    workers: dict[Quota, list[tuple[float, int]]] = defaultdict(list)
    for index, node_type in enumerate(types):
        machine = prices.machine_types().get(node_type.instance_type)
        family = family_of(node_type.instance_type)
        if machine is None or family is None:
            continue
        if index == 0:
            head_vcpus[node_type.spot, family] = machine.vcpus
        else:
            workers[node_type.spot, family].append((machine.vcpus, node_type.max_count))
    totals = {
        quota: head_vcpus.get(quota, 0) + int(largest_total(workers[quota], max_nodes))
        for quota in [*head_vcpus, *workers]
    }
    return {quota: vcpus for quota, vcpus in totals.items() if vcpus}


def family_of(instance_type: str) -> str | None:
    """Return the family of machines that shares a quota; None for a family without a known quota.

    >>> family_of("g6.2xlarge"), family_of("m7i.large"), family_of("vt1.3xlarge"), family_of("inf2.xlarge")
    ('G and VT', 'standard', 'G and VT', None)
    """
    letters = re.match(r"[a-z]+", instance_type)
    return _FAMILIES.get(letters[0] if letters else "")


def _smallest_machine(types: Iterable[NodeType], spot: bool, family: str) -> int:
    """Return the virtual CPUs of the smallest machine that uses a quota."""
    machines = prices.machine_types()
    names = [
        node_type.instance_type
        for node_type in types
        if node_type.spot == spot and family_of(node_type.instance_type) == family
    ]
    return min(machines[name].vcpus for name in names if name in machines)


def import_boto3() -> Any:
    """Return the module boto3.

    Raises:
        UserError: it is not installed.
    """
    try:
        import boto3
    except ImportError:
        raise UserError("boto3 is missing, which Ray needs for AWS; python -m pip install 'raysearch[aws]'") from None
    return boto3
