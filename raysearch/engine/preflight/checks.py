"""What a study needs of a cluster, looked at before it costs money: data, bucket, versions, GPUs, the bill.

All is asked from here, with this machine's credentials; the nodes' own roles are the cluster file's business.
"""

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from typing import Any

from raysearch.data import shards
from raysearch.engine.cluster import prices
from raysearch.engine.cluster.connection import TrialResources, workers_per_node
from raysearch.engine.preflight.check_result import CheckResult, failed, passed, warned
from raysearch.engine.preflight.node_types import NodeType, largest_total
from raysearch.runs.run_location import RunLocation
from raysearch.storage import Location
from raysearch.studies.configs import overrides
from raysearch.studies.design import ablation_plan, search_plan, study_files
from raysearch.studies.design.ablation import Ablation

_PINNED = re.compile(r"\b(ray|torch|torchvision|optuna)(?:\[[^\]]*\])?==([0-9][\w.]*)")


def check_versions(config: Mapping[str, Any]) -> Iterator[CheckResult]:
    """Whether the nodes will have the versions that are installed here."""
    words = [str(one) for key in ("setup_commands", "head_setup_commands") for one in config.get(key) or []]
    pinned = dict(found for text in words for found in _PINNED.findall(text))
    if "ray" not in pinned:
        yield failed("versions", "setup_commands pin no ray==VERSION; Ray would install a nightly build of another one")
    for name, version in pinned.items():
        here = importlib.metadata.version(name)
        if version == here:
            yield passed("versions", f"{name} {version}, as here")
        elif name == "ray":
            yield failed("versions", f"ray {version} on the nodes and {here} here; raysearch is tried with one of them")
        else:
            yield warned("versions", f"{name} {version} on the nodes, {here} here: numbers may differ in last digits")


def check_study(study: str, profile: str, data: str, settings: list[str]) -> Iterator[CheckResult]:
    """Whether the study can be planned on the data, and the data is whole.

    Raises:
        UserError: it cannot, or the data cannot be read.
    """
    name, asked = study_files.load_study(study)
    place = Location.parse(data)
    manifest = shards.read_manifest(place)  # looks for every shard
    changes = overrides.parse(settings, asked.task)
    if isinstance(asked, Ablation):
        plan = ablation_plan.plan_ablation(name, asked, profile, manifest.content_hash, changes)
        config, count = plan.reference.config, f"{len(plan.cells)} cells"
    else:
        found = search_plan.plan_search(name, asked, profile, manifest.content_hash, changes)
        config = found.reference(found.groups[0]).config
        count = f"{found.trials} configs in each of {len(found.groups)} groups"
    config.check(manifest.name, manifest.classes, manifest.counts)
    yield passed("study", f"{name}, {profile}: {count}")
    images = sum(sum(by_class) for by_class in manifest.counts.values())
    yield passed("data", f"{place}: {images:,} images of {len(manifest.classes)} classes, all shards there")
    if place.local is not None:
        yield warned("data", f"{place} is on this machine: is it at the same path on every node?")
    backbone, weights = config.backbone
    if weights is not None and "/" in str(weights):
        yield warned("weights", f"{backbone}: is '{weights}' at the same path on every node?")


def check_results(out: str) -> Iterator[CheckResult]:
    """Whether results can be written where they shall go.

    Raises:
        UserError: they cannot.
    """
    home = RunLocation(out)
    home.check_writable()
    if home.place is None:
        yield failed(
            "results", f"{out} is on one machine: the head's disk goes with the head; give --out s3://BUCKET/RUN"
        )
    else:
        yield passed("results", f"{home} can be written")


def check_gpus(kinds: list[NodeType], demand: TrialResources) -> Iterator[CheckResult]:
    """Whether a trial has room on the cluster, and how many have at once."""
    unknown = [one.instance_type for one in kinds if one.instance_type and "CPU" not in one.resources]
    for name in dict.fromkeys(unknown):
        yield warned("GPUs", f"{name} is not in prices.csv: what it holds is not known; RAYSEARCH_PRICES adds it")
    fits = {one.name: workers_per_node(one.resources, demand) * one.most for one in kinds}
    most = max((fits[one.name] for one in kinds), default=0)
    need = f"{demand.workers} workers of {demand.cpus} CPU and {demand.gpus:g} GPU"
    if not any(fits.values()):
        yield failed("GPUs", f"a trial needs {need}; no kind of node has room for one")
    elif sum(fits.values()) < demand.workers:
        yield failed("GPUs", f"a trial needs {need}; all nodes together have room for {sum(fits.values())}")
    else:
        where = ", ".join(f"{name} {count}" for name, count in fits.items() if count)
        yield passed("GPUs", f"a trial needs {need}; room for {most} workers or more ({where})")
    machines = prices.machine_types()
    for name in dict.fromkeys(one.instance_type for one in kinds):
        if name in machines and machines[name].gpus:
            yield passed(
                "GPUs", f"{name}: {machines[name].gpus} x {machines[name].gpu}, {machines[name].gpu_gb:g} GB each"
            )


def check_cost(kinds: list[NodeType], max_nodes: int, max_cost: float | None) -> Iterator[CheckResult]:
    """What an hour costs, waiting and at full size.

    Args:
        kinds: the head first.
        max_nodes: workers that the cluster may have together.
        max_cost: dollars at which the study would stop.
    """
    unknown = [one.instance_type or one.name for one in kinds if one.price is None]
    if unknown:
        names = ", ".join(dict.fromkeys(unknown))
        says = f"the price of {names} is not known; label it {prices.PRICE_LABEL}, or see prices.csv"
        yield warned("cost", says) if max_cost is None else failed("cost", says)
        return
    head, *workers = [(one.price or 0.0, one.most) for one in kinds]
    full = head[0] + largest_total(workers, max_nodes)
    says = f"${head[0]:.2f} an hour with the head alone, ${full:.2f} at full size, spot machines at the price on demand"
    yield passed("cost", says)
    if max_cost is not None:
        yield passed("cost", f"--max-cost {max_cost:g} lasts {max_cost / full:.1f} hours at full size")
    else:
        yield warned("cost", "no --max-cost: nothing stops the study but its end")
