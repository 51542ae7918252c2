"""clusters/kuberay.yaml: it uses known fields only, and gives nobody else access.

The schema is written by hand from KubeRay's and Kubernetes' API reference (kuberay_schema.py). It catches misspelled
fields, but it is not KubeRay's own definition.
"""

import copy
import ipaddress
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from raysearch.core import UserError
from raysearch.engine.preflight import CheckResult, kuberay_yaml, supply_chain

from .kuberay_schema import KINDS

FILE = Path(__file__).parents[2] / "clusters" / "kuberay.yaml"
VALUES = {
    "Image": f"registry.example/raysearch@sha256:{'0' * 64}",
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
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    own, others = policy["ingress"]
    assert own["from"] == [{"podSelector": policy["podSelector"]}]
    # Pods outside the cluster reach only the dashboard's port, and only with a label.
    assert others["ports"] == [{"port": 8265, "protocol": "TCP"}]
    assert all(peer["podSelector"]["matchLabels"] for peer in others["from"])
    (namespace,) = [peer["namespaceSelector"] for peer in others["from"] if "namespaceSelector" in peer]
    assert namespace == {"matchLabels": {"kubernetes.io/metadata.name": "kuberay"}}
    page = (FILE.parents[1] / "docs" / "clusters" / "kubernetes.md").read_text()
    assert "-n kuberay " in page, "the page installs the operator in another namespace"


def test_pods_reach_each_other_dns_and_https_but_no_metadata_service(objects: dict[str, Any]) -> None:
    own, dns, https = objects["NetworkPolicy"]["spec"]["egress"]
    assert own == {"to": [{"podSelector": objects["NetworkPolicy"]["spec"]["podSelector"]}]}
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert all(peer["namespaceSelector"]["matchLabels"] for peer in dns["to"])
    assert {(port["port"], port["protocol"]) for port in https["ports"]} == {(443, "TCP"), (6443, "TCP")}
    (peer,) = https["to"]
    left_out = [ipaddress.ip_network(block) for block in peer["ipBlock"]["except"]]
    for service in ("169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "168.63.129.16"):
        assert any(ipaddress.ip_address(service) in block for block in left_out), service


ANYWHERE = {"cidr": "0.0.0.0/0"}


@pytest.mark.parametrize(
    ("problem", "change"),
    [
        ("a pod of any namespace", lambda p: p["ingress"][1]["from"].append({"namespaceSelector": {}})),
        ("a pod of any namespace", lambda p: p["ingress"][1]["from"].append({"namespaceSelector": None})),
        ("a pod of any namespace", lambda p: p["ingress"][1]["from"][1].update(namespaceSelector={"matchLabels": {}})),
        ("without `from`", lambda p: p["ingress"].append({"ports": [{"port": 8265}]})),
        ("without `from`", lambda p: p["ingress"].append({"from": []})),
        ("opens the ports to 0.0.0.0/0", lambda p: p["ingress"][0]["from"].append({"ipBlock": ANYWHERE})),
        ("opens the ports to ::/0", lambda p: p["ingress"][0]["from"].append({"ipBlock": {"cidr": "::/0"}})),
        ("policyTypes has no Egress", lambda p: p.update(policyTypes=["Ingress"])),
        ("policyTypes has no Egress", lambda p: p.pop("policyTypes")),
        ("without `to`", lambda p: p["egress"].append({})),
        ("without `to`", lambda p: p["egress"].append({"to": None, "ports": [{"port": 80}]})),
        ("a metadata service; leave out 169.254.169.254", lambda p: p["egress"][2]["to"][0]["ipBlock"].pop("except")),
        (
            "a metadata service; leave out 169.254.169.254",
            lambda p: p["egress"].append({"to": [{"ipBlock": ANYWHERE}]}),
        ),
        ("leave out 168.63.129.16", lambda p: p["egress"][2]["to"][0]["ipBlock"]["except"].pop()),
        ("leave out 169.254.170.2", lambda p: p["egress"].append({"to": [{"ipBlock": {"cidr": "169.254.170.0/24"}}]})),
        ("leave out fd00:ec2::254", lambda p: p["egress"].append({"to": [{"ipBlock": {"cidr": "::/0"}}]})),
        ("ray.io/cluster: raysearch", lambda p: p.update(podSelector={})),
    ],
)
def test_each_open_rule_is_found(
    objects: dict[str, Any], problem: str, change: Callable[[dict[str, Any]], object]
) -> None:
    assert kuberay_yaml.find_problems(objects) == []
    changed = copy.deepcopy(objects)
    change(changed["NetworkPolicy"]["spec"])
    (line,) = kuberay_yaml.find_problems(changed)
    assert problem in line


def test_the_address_that_a_cloud_asks_for_may_be_opened(objects: dict[str, Any]) -> None:
    changed = copy.deepcopy(objects)
    rules = changed["NetworkPolicy"]["spec"]["egress"]
    rules.append({"to": [{"ipBlock": {"cidr": "169.254.169.252/32"}}], "ports": [{"port": 988}]})
    rules.append({"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}], "ports": [{"port": 80}]})
    assert kuberay_yaml.find_problems(changed) == []
    rules.append({"to": [{"ipBlock": {"cidr": "everywhere"}}]})
    with pytest.raises(UserError, match="'everywhere' does not appear to be"):
        kuberay_yaml.find_problems(changed)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("selector", "found"),
    [("{}", 1), ("{ matchLabels: { ray.io/cluster: raysearch } }", 1), ("{ matchLabels: { app: web } }", 0)],
)
def test_a_second_policy_is_checked_too(tmp_path: Path, selector: str, found: int, first: bool) -> None:
    """Policies add up: a second one opens what the first one leaves closed."""
    text = re.sub(r"<([A-Z]\w+)>", lambda place: VALUES[place[1]], FILE.read_text().replace("<Names>", ""))
    second = (
        "kind: NetworkPolicy\nmetadata: { name: more }\n"
        f"spec: {{ podSelector: {selector}, policyTypes: [Egress], egress: [{{}}] }}\n"
    )
    (tmp_path / "cluster.yaml").write_text(f"{second}---\n{text}" if first else f"{text}\n---\n{second}")
    objects = kuberay_yaml.read_objects(tmp_path / "cluster.yaml")
    assert objects is not None
    problems = kuberay_yaml.find_problems(objects)
    assert len(problems) == found, problems
    assert all("without `to`" in problem for problem in problems)


def test_every_image_needs_a_digest(objects: dict[str, Any]) -> None:
    assert statuses(supply_chain.check_images(kuberay_yaml.images(objects))) == ["PASS"]
    changed = copy.deepcopy(objects)
    spec = changed["RayCluster"]["spec"]
    head = spec["headGroupSpec"]["template"]["spec"]
    head["containers"][0]["image"] = "registry.example/raysearch:1"
    head["initContainers"] = [{"name": "first", "image": "busybox"}]
    spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["image"] = "r/x@sha256:abc"
    spec["autoscalerOptions"]["image"] = f"r/x@sha256:{'0' * 64}:latest"
    container = {"name": "submitter", "image": "rayproject/ray:2.60.0"}
    changed["RayJob"]["spec"]["submitterPodTemplate"] = {"spec": {"containers": [container]}}
    results = list(supply_chain.check_images(kuberay_yaml.images(changed)))
    assert statuses(results) == ["WARN"] * 5
    assert {result.message.partition(":")[0] for result in results} == {
        "ray-head", "first", "ray-worker", "autoscalerOptions", "submitter",
    }  # fmt: skip


def test_images_of_equal_names_and_of_other_objects_are_checked_too(objects: dict[str, Any], tmp_path: Path) -> None:
    """A second group of workers may use the same name of a container, and other objects have pods as well."""
    changed = copy.deepcopy(objects)
    groups = changed["RayCluster"]["spec"]["workerGroupSpecs"]
    groups.insert(0, copy.deepcopy(groups[0]))
    groups[0]["template"]["spec"]["containers"][0]["image"] = "x/first:1"
    pod = {"containers": [{"name": "ray-worker", "image": "x/pod:1"}]}
    extra = [{"kind": "Pod", "spec": pod}, {"kind": "Job", "spec": {"template": {"spec": pod}}}, {"kind": "Pod"}]
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump_all([*extra, *changed.values(), extra[0]]))
    read = kuberay_yaml.read_objects(tmp_path / "cluster.yaml")
    assert read is not None
    lines = [result.message for result in supply_chain.check_images(kuberay_yaml.images(read))]
    assert [re.findall("'(x/.*)'", line) for line in lines] == [["x/pod:1"], ["x/first:1"]]
    assert lines[0].partition(": '")[0].count("ray-worker") == 1
    assert lines[0].partition(": '")[0].count(", ") == 2, "one line names all places of an image"


def test_two_clusters_in_a_file_are_refused(objects: dict[str, Any], tmp_path: Path) -> None:
    open_one = copy.deepcopy(objects["RayCluster"])
    open_one["spec"]["authOptions"] = {"mode": "disabled"}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump_all([open_one, *objects.values()]))
    with pytest.raises(UserError, match="holds several RayClusters"):
        kuberay_yaml.read_objects(tmp_path / "cluster.yaml")


def test_a_placeholder_is_one_line_and_a_tag_too() -> None:
    read = kuberay_yaml.read_objects(FILE)
    assert read is not None
    assert [line for line in kuberay_yaml.find_problems(read) if "Image" in line] == ["<Image> is not filled in"]
    assert list(supply_chain.check_images(kuberay_yaml.images(read))) == []
    tagged = re.sub("<Image>", "x/y:1", FILE.read_text())
    objects = {document["kind"]: document for document in yaml.safe_load_all(tagged)}
    (result,) = supply_chain.check_images(kuberay_yaml.images(objects))
    assert result.message.startswith("ray-head, ray-worker: 'x/y:1' can be exchanged later")


def statuses(results: Iterable[CheckResult]) -> list[str]:
    return [result.status.value for result in results]


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
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
            assert container["resources"]["requests"] == container["resources"]["limits"]
    assert [group["template"]["spec"]["automountServiceAccountToken"] for group in spec["workerGroupSpecs"]] == [False]


def test_the_same_software_everywhere(objects: dict[str, Any]) -> None:
    assert objects["RayCluster"]["spec"]["rayVersion"] == ray.__version__
    docker = (FILE.parent / "kuberay" / "Dockerfile").read_text()
    assert f"rayproject/ray:{ray.__version__}-py311" in docker
    assert re.findall("^(?:ARG|FROM) .*", docker, re.MULTILINE) == ["ARG RAY_IMAGE", "FROM ${RAY_IMAGE}"], "a tag"
    assert "--require-hashes -r /home/ray/raysearch/clusters/requirements.txt" in docker
    assert docker.count("pip install") == 2, "an installation without hashes"
    copied = set(re.findall(r"^COPY \S+ (.*) \S+$", docker, re.MULTILINE))
    assert all((FILE.parents[1] / path).exists() for line in copied for path in line.split())


def test_training_stays_off_the_head_and_the_job_finds_its_cluster(objects: dict[str, Any]) -> None:
    spec = objects["RayCluster"]["spec"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["autoscalerOptions"]["version"] == "v2"
    job = objects["RayJob"]["spec"]
    assert job["clusterSelector"] == {"ray.io/cluster": objects["RayCluster"]["metadata"]["name"]}
    words = job["entrypoint"].split()
    assert words[:4] == ["python", "-m", "raysearch.sweep", "srem_ablation"]
    # The cluster starts without a GPU, and the job is for GPUs.
    assert words[words.index("--profile") + 1] == "paper"
    assert words[words.index("--gpus-per-worker") + 1] == "1"
    assert {content["metadata"]["labels"]["part"] for content in objects.values()} == {"cluster", "job"}
