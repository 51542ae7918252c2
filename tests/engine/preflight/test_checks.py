"""Preflight checks of real data, a real store, and the numbers of a cluster file."""

import random
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import ray

from raysearch.core import UserError
from raysearch.engine.cluster.capacity import TrialResources, largest_total
from raysearch.engine.preflight import CheckResult, CheckStatus, aws, checks, collect
from raysearch.engine.preflight.node_types import NodeType
from raysearch.engine.preflight.ray_yaml import node_types
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


def statuses(results: Iterable[CheckResult]) -> list[CheckStatus]:
    return [result.status for result in results]


def test_node_types_have_the_resources_of_their_machines() -> None:
    head, spot, on_demand = node_types(CONFIG)
    assert (head.name, head.max_count, head.resources) == ("head", 1, {"CPU": 0, "GPU": 0})
    assert (spot.max_count, spot.spot, spot.resources) == (8, True, {"CPU": 8, "GPU": 1})
    assert (on_demand.max_count, on_demand.spot) == (2, False)


def test_versions() -> None:
    results = list(checks.check_versions(CONFIG))
    assert statuses(results) == [CheckStatus.PASS, CheckStatus.WARN]
    other = {"setup_commands": ["pip install 'ray[default]==2.40.0'"]}
    assert statuses(checks.check_versions(other)) == [CheckStatus.FAIL]
    assert statuses(checks.check_versions({"setup_commands": []})) == [CheckStatus.FAIL]


def test_a_study_and_its_data(tiny_data: Path, s3: Server) -> None:
    settings = ["train.batch=8"]
    results = list(checks.check_study("srem_ablation", "laptop", str(tiny_data), settings))
    assert statuses(results) == [CheckStatus.PASS, CheckStatus.PASS, CheckStatus.WARN]  # a path of this machine
    assert "68 images of 4 classes" in results[1].message
    for file in tiny_data.iterdir():
        (Location.parse(s3.uri("birds")) / file.name).upload(file)
    uri = s3.uri("birds")
    assert statuses(checks.check_study("srem_ablation", "laptop", uri, settings)) == [
        CheckStatus.PASS,
        CheckStatus.PASS,
    ]
    shard = next(name for name in Location.parse(uri).listing() if name.endswith(".parquet"))
    (Location.parse(uri) / shard).delete()
    (result,) = collect("data", lambda: checks.check_study("srem_ablation", "laptop", uri, settings))
    assert result.status is CheckStatus.FAIL
    assert shard in result.message


def test_wrong_studies_and_settings_are_failed_checks(tiny_data: Path) -> None:
    results = collect("study", lambda: checks.check_study("srem_ablatoin", "laptop", str(tiny_data), []))
    assert statuses(results) == [CheckStatus.FAIL]
    assert "srem_ablation" in results[0].message
    results = collect("study", lambda: checks.check_study("srem_ablation", "laptop", str(tiny_data), ["srem.regons=3"]))
    assert "srem.regions" in results[0].message


def test_results_belong_in_a_store(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSEARCH_CACHE", str(tmp_path / "cache"))
    assert statuses(checks.check_results(s3.uri("runs/first"))) == [CheckStatus.PASS]
    assert statuses(checks.check_results(str(tmp_path / "run"))) == [CheckStatus.FAIL]
    with pytest.raises(UserError, match="no such bucket"):
        list(checks.check_results(s3.uri("runs/first", bucket="nowhere")))


@pytest.mark.parametrize(
    ("demand", "status", "text"),
    [
        (TrialResources(2, 1, 1.0), CheckStatus.PASS, "room for"),
        (TrialResources(2, 1, 0.5), CheckStatus.PASS, "room for"),
        (TrialResources(2, 1, 2.0), CheckStatus.FAIL, "no type of node has room"),
        (TrialResources(11, 1, 1.0), CheckStatus.FAIL, "room for 10"),
    ],
)
def test_gpus(demand: TrialResources, status: CheckStatus, text: str) -> None:
    result = next(checks.check_gpus(node_types(CONFIG), demand))
    assert result.status is status
    assert text in result.message


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_total_is_that_of_the_best_choice_of_nodes(seed: int) -> None:
    rng = random.Random(seed)
    types = [(rng.randint(1, 9), rng.randint(0, 3)) for _ in range(3)]
    max_nodes = rng.randint(0, 6)
    choices = product(*(range(max_count + 1) for _, max_count in types))
    totals = [
        sum(count * quantity for count, (quantity, _) in zip(counts, types, strict=True))
        for counts in choices
        if sum(counts) <= max_nodes
    ]
    assert largest_total(types, max_nodes) == max(totals)


def test_the_cost_of_an_hour() -> None:
    types = node_types(CONFIG)
    results = list(checks.check_cost(types, 8, 20.0))
    # Eight workers of the most expensive type.
    assert f"${0.2016 + 8 * 0.9776:.2f} at full size" in results[0].message
    assert "lasts 2.5 hours" in results[1].message
    assert statuses(checks.check_cost(types, 8, None)) == [CheckStatus.PASS, CheckStatus.WARN]
    with_unknown = [*types, NodeType("odd", 1, {}, "z9.huge")]
    assert statuses(checks.check_cost(with_unknown, 8, 5.0)) == [CheckStatus.FAIL]


class Account:
    """The Service Quotas of an account; an unknown code raises KeyError."""

    def __init__(self, limits: dict[str, float]) -> None:
        self._limits = limits

    def get_service_quota(self, *, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:
        assert ServiceCode == "ec2"
        return {"Quota": {"Value": self._limits[QuotaCode]}}


def test_quotas_in_virtual_cpus() -> None:
    types = node_types(CONFIG)
    enough = {"L-1216C47A": 32.0, "L-DB2E81BA": 16.0, "L-3819A6DF": 64.0}
    assert statuses(aws.check_quotas(types, 8, Account(enough))) == [CheckStatus.PASS] * 3
    smaller = {**enough, "L-3819A6DF": 32.0}
    assert CheckStatus.WARN in statuses(aws.check_quotas(types, 8, Account(smaller)))
    new = {**enough, "L-3819A6DF": 0.0}
    results = [result for result in aws.check_quotas(types, 8, Account(new)) if result.status is CheckStatus.FAIL]
    assert "not one machine can start" in results[0].message
    assert "up to 64" in results[0].message
    # Types of one family and market share a quota, also with the head.
    mixed = [
        NodeType("head", 1, {}, "m7i.xlarge"),
        NodeType("small", 8, {}, "g6.2xlarge", spot=True),
        NodeType("large", 2, {}, "g6.12xlarge", spot=True),
        NodeType("cpu", 2, {}, "m7i.xlarge"),
    ]
    assert aws.vcpus_by_quota(mixed, 4) == {(False, "standard"): 4 + 2 * 4, (True, "G and VT"): 2 * 48 + 2 * 8}
    assert statuses(aws.check_quotas(types, 8, Account({}))) == [CheckStatus.WARN] * 3
