"""clusters/kuberay.yaml: it uses known fields only, and gives nobody else access.

The schema is written by hand from KubeRay's and Kubernetes' API reference (kuberay_schema.py). It catches misspelled
fields, but it is not KubeRay's own definition.
"""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from raysearch.engine.preflight import kuberay_yaml

from .kuberay_schema import KINDS

FILE = Path(__file__).parents[2] / "clusters" / "kuberay.yaml"
VALUES = {
    "Image": "registry.example/raysearch:1",
    "Bucket": "s3://birds",
    "Study": "srem_ablation",
    "MaxCost": "20",
    "HeadDollars": "0.2",
    "WorkerDollars": "0.98",
}


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    text = re.sub(r"<([A-Z]\w+)>", lambda place: VALUES[place[1]], FILE.read_text().replace("<Names>", ""))
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def test_every_field_is_known(objects: dict[str, Any]) -> None:
    assert objects.keys() == KINDS.keys()
    for kind, content in objects.items():
        jsonschema.Draft202012Validator(KINDS[kind]).validate(content)


def test_the_schema_refuses_an_unknown_field(objects: dict[str, Any]) -> None:
    cluster = yaml.safe_load(yaml.safe_dump(objects["RayCluster"]))
    cluster["spec"]["headGroupSpec"]["rayStartParam"] = {}
    with pytest.raises(jsonschema.ValidationError, match="rayStartParam"):
        jsonschema.validate(cluster, KINDS["RayCluster"])


def test_access_needs_a_token_and_comes_from_inside(objects: dict[str, Any]) -> None:
    spec = objects["RayCluster"]["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["headGroupSpec"]["enableIngress"] is False
    policy = objects["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == {"ray.io/cluster": objects["RayCluster"]["metadata"]["name"]}
    assert policy["policyTypes"] == ["Ingress"]
    own, others = policy["ingress"]
    assert own["from"] == [{"podSelector": policy["podSelector"]}]
    # Pods outside the cluster reach only the dashboard's port, and only with a label.
    assert others["ports"] == [{"port": 8265, "protocol": "TCP"}]
    assert all(peer["podSelector"]["matchLabels"] for peer in others["from"])


def test_ray_counts_a_pod_s_limits_unless_its_start_parameters_set_them(objects: dict[str, Any]) -> None:
    head, worker = kuberay_yaml.node_types(objects)
    assert (head.name, head.resources) == (
        "head",
        {"CPU": 0, "GPU": 0},
    )  # only drivers run there
    assert (worker.name, worker.resources, worker.max_count) == ("gpu", {"CPU": 7, "GPU": 1}, 8)


def test_no_pod_runs_as_root_or_may_become_it(objects: dict[str, Any]) -> None:
    spec = objects["RayCluster"]["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for pod in (group["template"]["spec"] for group in groups):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["restartPolicy"] == "Never"
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"] == container["resources"]["limits"]
    assert [group["template"]["spec"]["automountServiceAccountToken"] for group in spec["workerGroupSpecs"]] == [False]


def test_the_same_software_everywhere(objects: dict[str, Any]) -> None:
    assert objects["RayCluster"]["spec"]["rayVersion"] == ray.__version__
    docker = (FILE.parent / "kuberay" / "Dockerfile").read_text()
    assert f"rayproject/ray:{ray.__version__}-py311" in docker
    copied = set(re.findall(r"^COPY \S+ (.*) \S+$", docker, re.MULTILINE))
    assert all((FILE.parents[1] / path).exists() for line in copied for path in line.split())


def test_training_stays_off_the_head_and_the_job_finds_its_cluster(objects: dict[str, Any]) -> None:
    spec = objects["RayCluster"]["spec"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["autoscalerOptions"]["version"] == "v2"
    job = objects["RayJob"]["spec"]
    assert job["clusterSelector"] == {"ray.io/cluster": objects["RayCluster"]["metadata"]["name"]}
    assert job["entrypoint"].split()[:4] == ["python", "-m", "raysearch.sweep", "srem_ablation"]
    assert {content["metadata"]["labels"]["part"] for content in objects.values()} == {"cluster", "job"}
