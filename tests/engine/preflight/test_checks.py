"""What a look before the money finds: real data, real stores, a cluster file's own numbers."""

import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import ray

from raysearch.core.errors import UserError
from raysearch.engine.cluster.connection import TrialResources
from raysearch.engine.preflight import aws_quotas, checks
from raysearch.engine.preflight.check_result import CheckResult, CheckStatus, collect
from raysearch.engine.preflight.node_types import NodeType, largest_total, node_types
from raysearch.storage import Location

from ...s3_server import Server

GPU = {"max_workers": 8, "resources": {}, "node_config": {"InstanceType": "g6.2xlarge"}}
SPOT = {**GPU, "node_config": {**GPU["node_config"], "InstanceMarketOptions": {"MarketType": "spot"}}}
CONFIG: dict[str, Any] = {
    "head_node_type": "head",
    "max_workers": 8,
    "available_node_types": {
        "spot": SPOT,
        "on_demand": {**GPU, "max_workers": 2},
        "head": {"resources": {"CPU": 0, "GPU": 0}, "node_config": {"InstanceType": "m7i.xlarge"}},
    },
    "setup_commands": [f"pip install 'ray[tune,train]=={ray.__version__}' 'optuna==1.0.0'"],
}


def states(found: list[CheckResult]) -> list[CheckStatus]:
    return [one.state for one in found]


def test_kinds_of_nodes_have_what_their_machines_have() -> None:
    head, spot, on_demand = node_types(CONFIG)
    assert (head.name, head.most, head.resources) == ("head", 1, {"CPU": 0, "GPU": 0})
    assert (spot.most, spot.spot, spot.resources) == (8, True, {"CPU": 8, "GPU": 1})
    assert (on_demand.most, on_demand.spot) == (2, False)


def test_versions() -> None:
    found = list(checks.check_versions(CONFIG))
    assert states(found) == [CheckStatus.GOOD, CheckStatus.OPEN]
    other = {"setup_commands": ["pip install 'ray[default]==2.40.0'"]}
    assert states(list(checks.check_versions(other))) == [CheckStatus.BAD]
    assert states(list(checks.check_versions({"setup_commands": []}))) == [CheckStatus.BAD]


def test_a_study_and_its_data(tiny_data: Path, s3: Server) -> None:
    settings = ["train.batch=8"]
    found = list(checks.check_study("srem_ablation", "laptop", str(tiny_data), settings))
    assert states(found) == [CheckStatus.GOOD, CheckStatus.GOOD, CheckStatus.OPEN]  # a path of this machine
    assert "68 images of 4 classes" in found[1].says
    for file in tiny_data.iterdir():
        (Location.parse(s3.uri("birds")) / file.name).upload(file)
    uri = s3.uri("birds")
    assert states(list(checks.check_study("srem_ablation", "laptop", uri, settings))) == [
        CheckStatus.GOOD,
        CheckStatus.GOOD,
    ]
    shard = next(name for name in Location.parse(uri).listing() if name.endswith(".parquet"))
    (Location.parse(uri) / shard).delete()
    (lost,) = collect("data", lambda: checks.check_study("srem_ablation", "laptop", uri, settings))
    assert lost.state is CheckStatus.BAD
    assert shard in lost.says


def test_wrong_studies_and_data_are_findings_that_hide_no_others(tiny_data: Path) -> None:
    found = collect("study", lambda: checks.check_study("srem_ablatoin", "laptop", str(tiny_data), []))
    assert states(found) == [CheckStatus.BAD]
    assert "srem_ablation" in found[0].says
    found = collect("study", lambda: checks.check_study("srem_ablation", "laptop", str(tiny_data), ["srem.regons=3"]))
    assert "srem.regions" in found[0].says


def test_results_belong_in_a_store(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    assert states(list(checks.check_results(s3.uri("runs/one")))) == [CheckStatus.GOOD]
    assert states(list(checks.check_results(str(tmp_path / "run")))) == [CheckStatus.BAD]
    with pytest.raises(UserError, match="no such bucket"):
        list(checks.check_results(s3.uri("runs/one", bucket="nowhere")))


@pytest.mark.parametrize(
    ("demand", "state", "words"),
    [
        (TrialResources(2, 1, 1.0), CheckStatus.GOOD, "room for"),
        (TrialResources(2, 1, 0.5), CheckStatus.GOOD, "room for"),
        (TrialResources(2, 1, 2.0), CheckStatus.BAD, "no kind of node has room"),
        (TrialResources(11, 1, 1.0), CheckStatus.BAD, "room for 10"),
    ],
)
def test_gpus(demand: TrialResources, state: CheckStatus, words: str) -> None:
    found = next(checks.check_gpus(node_types(CONFIG), demand))
    assert found.state is state
    assert words in found.says


@pytest.mark.parametrize("seed", range(20))
def test_the_most_that_a_cluster_comes_to_is_that_of_its_dearest_choice(seed: int) -> None:
    rng = random.Random(seed)
    kinds = [(rng.randint(1, 9), rng.randint(0, 3)) for _ in range(3)]
    nodes = rng.randint(0, 6)
    counts = product(*(range(most + 1) for _, most in kinds))
    sums = [sum(n * figure for n, (figure, _) in zip(one, kinds, strict=True)) for one in counts if sum(one) <= nodes]
    assert largest_total(kinds, nodes) == max(sums)


def test_what_an_hour_costs() -> None:
    kinds = node_types(CONFIG)
    found = list(checks.check_cost(kinds, 8, 20.0))
    # eight workers at the dearest, whichever kind they are of
    assert f"${0.2016 + 8 * 0.9776:.2f} at full size" in found[0].says
    assert "lasts 2.5 hours" in found[1].says
    assert states(list(checks.check_cost(kinds, 8, None))) == [CheckStatus.GOOD, CheckStatus.OPEN]
    strange = [*kinds, NodeType("odd", 1, {}, "z9.huge")]
    assert states(list(checks.check_cost(strange, 8, 5.0))) == [CheckStatus.BAD]


class Account:
    """Service Quotas of an account."""

    def __init__(self, limits: dict[str, float]) -> None:
        self._limits = limits

    def get_service_quota(self, *, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:
        assert ServiceCode == "ec2"
        return {"Quota": {"Value": self._limits[QuotaCode]}}


def test_quotas_in_virtual_cpus() -> None:
    kinds = node_types(CONFIG)
    enough = {"L-1216C47A": 32.0, "L-DB2E81BA": 16.0, "L-3819A6DF": 64.0}
    assert states(list(aws_quotas.check_quotas(kinds, 8, Account(enough)))) == [CheckStatus.GOOD] * 3
    smaller = {**enough, "L-3819A6DF": 32.0}
    assert CheckStatus.OPEN in states(list(aws_quotas.check_quotas(kinds, 8, Account(smaller))))
    new = {**enough, "L-3819A6DF": 0.0}
    found = [one for one in aws_quotas.check_quotas(kinds, 8, Account(new)) if one.state is CheckStatus.BAD]
    assert "not one machine may run" in found[0].says
    assert "up to 64" in found[0].says
    # kinds of one family and market share a quota, and one with the head
    mixed = [
        NodeType("head", 1, {}, "m7i.xlarge"),
        NodeType("small", 8, {}, "g6.2xlarge", spot=True),
        NodeType("large", 2, {}, "g6.12xlarge", spot=True),
        NodeType("cpu", 2, {}, "m7i.xlarge"),
    ]
    assert aws_quotas.vcpus_by_quota(mixed, 4) == {(False, "standard"): 4 + 2 * 4, (True, "G and VT"): 2 * 48 + 2 * 8}
    silent = list(aws_quotas.check_quotas(kinds, 8, Account({})))
    assert states(silent) == [CheckStatus.OPEN] * 3
