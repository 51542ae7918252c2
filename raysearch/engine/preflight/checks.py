"""Checks of what a study needs from a cluster: versions, data, results, GPUs and money.

They use this machine's credentials. The rights of the nodes are set by the cluster file and are not tried.
"""

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from typing import Any

from raysearch.data import shards
from raysearch.data.evaluation_limits import DataCounts
from raysearch.engine.cluster import prices
from raysearch.engine.cluster.capacity import TrialResources, largest_total, workers_per_node
from raysearch.engine.preflight import study_check, supply_chain
from raysearch.engine.preflight.check_result import CheckResult, failed, passed, warned
from raysearch.engine.preflight.node_types import NodeType
from raysearch.runs import RunLocation
from raysearch.storage import Location

_CHECKED = ("ray", "torch", "torchvision", "optuna")
_PINNED = re.compile(rf"\b({'|'.join(_CHECKED)})(?:\[[^\]]*\])?==([0-9][\w.]*)")


def check_versions(config: Mapping[str, Any]) -> Iterator[CheckResult]:
    """Check that the nodes will have the versions that are installed here.

    Args:
        config: content of a file for `ray up`.

    Raises:
        UserError: a requirements file that the nodes install from is not on this machine.
    """
    commands = [str(command) for key in ("setup_commands", "head_setup_commands") for command in config.get(key) or []]
    locked = {name: version for name, version in supply_chain.pinned_versions(config).items() if name in _CHECKED}
    pinned = dict(pair for command in commands for pair in _PINNED.findall(command)) | locked
    if "ray" not in pinned:
        yield failed("versions", "setup_commands do not pin ray==VERSION; Ray would install a nightly build")
    for name, version in pinned.items():
        here = importlib.metadata.version(name)
        if version == here:
            yield passed("versions", f"{name} {version}, as here")
        elif name == "ray":
            yield failed("versions", f"ray {version} on the nodes, {here} here; use the same version")
        else:
            yield warned("versions", f"{name} {version} on the nodes, {here} here; last digits of results may differ")


def check_study(
    study_name: str, profile: str, data: str, settings: list[str], workers: int = 1
) -> Iterator[CheckResult]:
    """Check that a study can run on a data set, and that the data set is complete.

    Args:
        study_name: a name in search_spaces, or the path of a study file.
        profile: the study's profile.
        data: path or URI of the shards.
        settings: overrides, each PATH=VALUE.
        workers: the number of workers that share each batch.

    Raises:
        UserError: the study cannot run, or the data cannot be read; of several mistakes each.
    """
    location = Location.parse(data)
    manifest = shards.read_manifest(location)  # checks that every shard exists
    counts = DataCounts(manifest.name, manifest.classes, manifest.counts)
    plan = study_check.check_request(study_check.StudyRequest(study_name, profile, settings, workers=workers), counts)
    yield passed("study", f"{plan.study}, {profile}: {plan.summary()}")
    for warning in plan.reference_config.limits(*counts).warnings:
        yield warned("data", warning)
    images = sum(sum(by_class) for by_class in manifest.counts.values())
    yield passed("data", f"{location}: {images:,} images of {len(manifest.classes)} classes, all shards present")
    if location.local is not None:
        yield warned("data", f"{location} is on this machine; make sure that every node has it at the same path")
    backbone, weights = plan.reference_config.backbone or (None, None)
    if weights is not None and "/" in str(weights):
        yield warned("weights", f"{backbone}: make sure that every node has '{weights}' at the same path")


def check_results(out: str) -> Iterator[CheckResult]:
    """Check that results can be written.

    Args:
        out: path or URI of the run directory.

    Raises:
        UserError: they cannot.
    """
    location = RunLocation(out)
    location.check_writable()
    if location.place is None:
        yield failed("results", f"{out} is on one machine, and is lost with the head's disk; use --out s3://BUCKET/RUN")
    else:
        yield passed("results", f"{location} can be written")


def check_gpus(types: list[NodeType], demand: TrialResources) -> Iterator[CheckResult]:
    """Check that a trial fits on the cluster.

    Args:
        types: node types, the head first.
        demand: resources of a trial.
    """
    unknown = [node.instance_type for node in types if node.instance_type and "CPU" not in node.resources]
    for name in dict.fromkeys(unknown):
        yield warned(
            "GPUs", f"{name} is not in prices.csv, so its CPUs and GPUs are unknown; add it to RAYSEARCH_PRICES"
        )
    room = {node.name: workers_per_node(node.resources, demand) * node.max_count for node in types}
    need = f"a trial needs {demand.workers} workers of {demand.cpus} CPU and {demand.gpus:g} GPU"
    if not any(room.values()):
        yield failed("GPUs", f"{need}; no type of node has room for one")
    elif sum(room.values()) < demand.workers:
        yield failed("GPUs", f"{need}; all nodes together have room for {sum(room.values())}")
    else:
        by_type = ", ".join(f"{name} {count}" for name, count in room.items() if count)
        yield passed("GPUs", f"{need}; room for {max(room.values())} workers or more ({by_type})")
    machines = prices.machine_types()
    names = dict.fromkeys(node.instance_type for node in types if node.max_count)
    with_gpus = {name: machines[name] for name in names if name in machines and machines[name].gpus}
    for name, machine in with_gpus.items():
        yield passed("GPUs", f"{name}: {machine.gpus} x {machine.gpu}, {machine.gpu_gb:g} GB each")
    kinds = sorted({machine.gpu for machine in with_gpus.values()})
    if len(kinds) > 1:
        yield warned(
            "GPUs", f"{' and '.join(kinds)} in one study: its seconds are compared within one type of GPU only"
        )


def check_cost(types: list[NodeType], max_nodes: int, max_cost: float | None) -> Iterator[CheckResult]:
    """Check the price of an hour, idle and at full size.

    Args:
        types: node types, the head first.
        max_nodes: workers of all types together.
        max_cost: dollars at which the study stops; None for no limit.
    """
    unknown = [node.instance_type or node.name for node in types if node.price is None]
    if unknown:
        names = ", ".join(dict.fromkeys(unknown))
        message = f"the price of {names} is unknown; label it {prices.PRICE_LABEL}, or see prices.csv"
        yield warned("cost", message) if max_cost is None else failed("cost", message)
        return
    head, *workers = [(node.price or 0.0, node.max_count) for node in types]
    full = head[0] + largest_total(workers, max_nodes)
    yield passed(
        "cost",
        f"${head[0]:.2f} per hour with the head alone, ${full:.2f} at full size; spot machines at on-demand prices",
    )
    if max_cost is not None:
        yield passed("cost", f"--max-cost {max_cost:g} lasts {max_cost / full:.1f} hours at full size")
    else:
        yield warned("cost", "without --max-cost nothing stops the study before its end")
