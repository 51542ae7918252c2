"""A schema of the KubeRay and Kubernetes fields that clusters/kuberay.yaml uses, written by hand.

It covers KubeRay 1.6's custom resources (ray.io/v1: RayCluster, RayJob), networking.k8s.io/v1 NetworkPolicy, and the
pods' parts of the core. It refuses every other field. It is not KubeRay's own CRD: no Python package brings that.
"""

from typing import Any

Schema = dict[str, Any]


def record(required: tuple[str, ...] = (), **fields: Schema) -> Schema:
    """An object with these fields alone; an underscore in a name stands for itself."""
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def listed(of: Schema) -> Schema:
    return {"type": "array", "items": of, "minItems": 1}


def one_of(*values: Any) -> Schema:
    return {"enum": list(values)}


TEXT: Schema = {"type": "string", "minLength": 1}
YES_NO: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
ANYTHING: Schema = {"type": "object", "maxProperties": 0}  # `{}`: no restriction
# Kubernetes takes letters, digits, dots, dashes and underscores, and Ray's labels are the same
LABEL: Schema = {"type": "string", "pattern": r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"}
LABELS: Schema = {"type": "object", "additionalProperties": LABEL}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}  # `ray start`'s flags, all texts
QUANTITY: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti|k|M|G|T)?$"}
QUANTITIES: Schema = {"type": "object", "additionalProperties": QUANTITY}
RESOURCES = record(requests=QUANTITIES, limits=QUANTITIES)

SELECTOR = record(matchLabels=LABELS)
PORT = record(("port",), port={"type": "integer", "minimum": 1, "maximum": 65535}, protocol=one_of("TCP", "UDP"))
CONTAINER_SECURITY = record(
    allowPrivilegeEscalation=YES_NO,
    capabilities=record(drop=listed(TEXT), add=listed(TEXT)),
    privileged=YES_NO,
    readOnlyRootFilesystem=YES_NO,
)
POD_SECURITY = record(
    runAsNonRoot=YES_NO,
    runAsUser=COUNT,
    fsGroup=COUNT,
    seccompProfile=record(("type",), type=one_of("RuntimeDefault", "Localhost", "Unconfined")),
)
CONTAINER = record(
    ("name", "image"),
    name=TEXT,
    image=TEXT,
    securityContext=CONTAINER_SECURITY,
    env=listed(record(("name", "value"), name=TEXT, value=TEXT)),
    ports=listed(record(("containerPort",), name=TEXT, containerPort={"type": "integer"})),
    resources=RESOURCES,
    volumeMounts=listed(record(("name", "mountPath"), name=TEXT, mountPath=TEXT, readOnly=YES_NO)),
)
NEEDS = record(("key", "operator"), key=TEXT, operator=one_of("In", "NotIn", "Exists"), values=listed(TEXT))
NEAR = record(
    preferredDuringSchedulingIgnoredDuringExecution=listed(
        record(
            ("weight", "preference"),
            weight={"type": "integer", "minimum": 1, "maximum": 100},
            preference=record(matchExpressions=listed(NEEDS)),
        )
    )
)
POD = record(
    ("containers",),
    serviceAccountName=TEXT,
    automountServiceAccountToken=YES_NO,
    restartPolicy=one_of("Always", "OnFailure", "Never"),
    securityContext=POD_SECURITY,
    affinity=record(nodeAffinity=NEAR),
    tolerations=listed(record(key=TEXT, operator=one_of("Exists", "Equal"), effect=one_of("NoSchedule", "NoExecute"))),
    terminationGracePeriodSeconds=COUNT,
    containers=listed(CONTAINER),
    volumes=listed(record(("name", "emptyDir"), name=TEXT, emptyDir=ANYTHING)),
)
TEMPLATE = record(("spec",), spec=POD)

HEAD = record(
    ("rayStartParams", "template"),
    serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer"),
    enableIngress=YES_NO,
    rayStartParams=TEXTS,
    labels=LABELS,
    template=TEMPLATE,
)
WORKERS = record(
    ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    idleTimeoutSeconds=COUNT,
    rayStartParams=TEXTS,
    labels=LABELS,
    template=TEMPLATE,
)
AUTOSCALER = record(
    version=one_of("v1", "v2"),
    idleTimeoutSeconds=COUNT,
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    resources=RESOURCES,
    securityContext=CONTAINER_SECURITY,
)
CLUSTER = record(
    ("headGroupSpec",),
    rayVersion=TEXT,
    authOptions=record(mode=one_of("disabled", "token"), secretName=TEXT),
    enableInTreeAutoscaling=YES_NO,
    autoscalerOptions=AUTOSCALER,
    headGroupSpec=HEAD,
    workerGroupSpecs=listed(WORKERS),
)
JOB = record(
    ("entrypoint",),
    clusterSelector=LABELS,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    backoffLimit=COUNT,
    entrypoint=TEXT,
)
CIDR: Schema = {"type": "string", "pattern": r"^[0-9.]+/[0-9]+$"}
PEER = record(
    podSelector=SELECTOR,
    namespaceSelector={"anyOf": [ANYTHING, SELECTOR]},
    ipBlock=record(("cidr",), **{"cidr": CIDR, "except": listed(CIDR)}),
)
POLICY = record(
    ("podSelector",),
    podSelector=SELECTOR,
    policyTypes=listed(one_of("Ingress", "Egress")),
    ingress=listed(record(**{"from": listed(PEER), "ports": listed(PORT)})),
    egress=listed(record(to=listed(PEER), ports=listed(PORT))),
)


def kind(version: str, name: str, spec: Schema | None) -> Schema:
    metadata = record(("name",), name={"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,49})$"}, labels=LABELS)
    fields = {"apiVersion": one_of(version), "kind": one_of(name), "metadata": metadata}
    return record((*fields, "spec"), **fields, spec=spec) if spec else record(tuple(fields), **fields)


KINDS = {
    "ServiceAccount": kind("v1", "ServiceAccount", None),
    "RayCluster": kind("ray.io/v1", "RayCluster", CLUSTER),
    "NetworkPolicy": kind("networking.k8s.io/v1", "NetworkPolicy", POLICY),
    "RayJob": kind("ray.io/v1", "RayJob", JOB),
}
