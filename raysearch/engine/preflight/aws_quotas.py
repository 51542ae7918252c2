"""AWS's limits on what an account may run at once, beside what a cluster file may ask for.

AWS counts virtual CPUs, apart for machines on demand and on the spot market, and apart for families; a new account may
run no GPU machine at all. A node that is over a limit is simply never there, and a sweep waits for it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from raysearch.engine.cluster import prices
from raysearch.engine.preflight.check_result import CheckResult, failed, passed, warned
from raysearch.engine.preflight.node_types import NodeType, largest_total

# Service Quotas' codes of EC2: (spot, family) -> code, by the letters that a family's names begin with.
_FAMILIES = {"g": "G and VT", "vt": "G and VT", "p": "P", **dict.fromkeys("acdhimrtz", "standard")}
_CODES = {
    (False, "standard"): "L-1216C47A",
    (False, "G and VT"): "L-DB2E81BA",
    (False, "P"): "L-417A185B",
    (True, "standard"): "L-34B43A08",
    (True, "G and VT"): "L-3819A6DF",
    (True, "P"): "L-7212CCBC",
}


class Quotas(Protocol):
    """The one call of boto3's client of `service-quotas` that is made."""

    def get_service_quota(self, *, ServiceCode: str, QuotaCode: str) -> dict[str, Any]: ...


def vcpus_by_quota(kinds: Iterable[NodeType], max_nodes: int) -> dict[tuple[bool, str], int]:
    """Virtual CPUs that a cluster may ask for at most, by market and family.

    Args:
        kinds: of nodes; the head is the first.
        max_nodes: workers that there may be together.

    >>> wanted([NodeType("head", 1, {}, "m7i.xlarge"), NodeType("gpu", 8, {}, "g6.2xlarge", spot=True)], 4)
    {(False, 'standard'): 4, (True, 'G and VT'): 32}
    """
    heads, workers = dict[tuple[bool, str], int](), defaultdict[tuple[bool, str], list[tuple[float, int]]](list)
    for index, one in enumerate(kinds):
        machine, family = prices.machine_types().get(one.instance_type), family_of(one.instance_type)
        if machine and family and index == 0:
            heads[one.spot, family] = machine.vcpus
        elif machine and family:
            workers[one.spot, family].append((machine.vcpus, one.most))
    found = {key: heads.get(key, 0) + int(largest_total(workers[key], max_nodes)) for key in [*heads, *workers]}
    return {key: vcpus for key, vcpus in found.items() if vcpus}


def family_of(instance_type: str) -> str | None:
    """
    >>> family_of("g6.2xlarge"), family_of("m7i.large"), family_of("vt1.3xlarge"), family_of("inf2.xlarge")
    ('G and VT', 'standard', 'G and VT', None)
    """
    letters = re.match(r"[a-z]+", instance_type)
    name = letters[0] if letters else ""
    return _FAMILIES.get(name)


def check_quotas(kinds: list[NodeType], max_nodes: int, client: Quotas) -> Iterator[CheckResult]:
    """Whether the account may run what the file asks for.

    Args:
        kinds: as `wanted` takes them.
        max_nodes: as there.
        client: boto3's, of the file's region.
    """
    for (spot, family), vcpus in vcpus_by_quota(kinds, max_nodes).items():
        code, market = _CODES[spot, family], "spot" if spot else "on demand"
        try:
            limit = client.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
        except Exception as error:  # botocore's, which is not installed everywhere
            reason = str(error).splitlines()[0]
            yield warned(
                "quotas", f"{family} {market}: AWS does not say ({reason}); {vcpus} virtual CPUs are asked for"
            )
            continue
        says = f"{family} {market}: {limit:g} virtual CPUs, the file asks for up to {vcpus}"
        if limit < _smallest(kinds, spot, family):
            yield failed("quotas", f"{says}: not one machine may run; ask AWS for more of quota {code}")
        elif limit < vcpus:
            yield warned("quotas", f"{says}: the cluster stays smaller; ask AWS for more of quota {code}")
        else:
            yield passed("quotas", says)


def _smallest(kinds: Iterable[NodeType], spot: bool, family: str) -> int:
    own = [one.instance_type for one in kinds if one.spot == spot and family_of(one.instance_type) == family]
    return min(prices.machine_types()[name].vcpus for name in own if name in prices.machine_types())
