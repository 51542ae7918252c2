"""What somebody who reaches a cluster's network can do: knock on every port, as each kind of Ray's servers understands.

Run by itself on a host that is no part of the cluster: `python intruder.py HOST PORT...`, with the token that he has in
the environment's TOKEN, none without it. Prints a JSON object of port -> what came of it. Written without Ray: its own
clients hold back what a server might have answered.
"""

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

SECONDS = 5.0
PATHS = ("/", "/metrics", "/api/version", "/api/jobs/", "/api/job_agent/jobs/", "/logs", "/nodes?view=summary")
HEALTH = "/grpc.health.v1.Health/Check"  # Ray answers it to all: that it serves, and nothing else
# Of each kind of server a harmless question. A server that does not know it says so before it asks for the token.
QUESTIONS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.NodeManagerService/GetSystemConfig",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.CoreWorkerService/NumPendingTasks",
    "/ray.rpc.ReporterService/HealthCheck",
    "/ray.rpc.ReporterService/GetTraceback",
    "/ray.rpc.ReporterService/ReportOCMetrics",
    "/ray.rpc.LogService/ListLogs",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/ray.rpc.RayletDriver/ClusterInfo",
    "/ray.rpc.RayletDriver/KvGet",
    HEALTH,
)
_UNKNOWN = {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_QUIET = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def knock(host: str, port: int, token: str | None) -> str:
    """What came of it, after "closed", "refuses", "ANSWERS" or, where no question was understood, "silent"."""
    try:
        socket.create_connection((host, port), timeout=SECONDS).close()
    except OSError as error:
        return f"closed: {error.strerror or error}"
    said = [*_web(host, port, token), *_remote(host, port, token)]
    alive = f"ANSWERS {HEALTH}"
    for kind in ("ANSWERS", "refuses"):
        if found := [one.removeprefix(f"{kind} ") for one in said if one.startswith(kind) and one != alive]:
            return f"{kind}: {'; '.join(dict.fromkeys(found))}{', is alive' if alive in said else ''}"
    return "ANSWERS: is alive" if alive in said else "silent: takes connections, understands none of the questions"


def _web(host: str, port: int, token: str | None) -> list[str]:
    said = []
    for path in PATHS:
        asked = urllib.request.Request(f"http://{host}:{port}{path}")
        if token:
            asked.add_header("Authorization", f"Bearer {token}")
        try:
            with _QUIET.open(asked, timeout=SECONDS) as answer:
                said.append(f"ANSWERS GET {path} {answer.status}")
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                said.append(f"refuses HTTP {error.code}")
            elif error.code not in (404, 405):
                said.append(f"ANSWERS GET {path} {error.code}")
        except (OSError, ValueError):  # it does not speak HTTP
            break
        except Exception as error:  # http.client's own, of what is no HTTP answer
            if type(error).__module__ != "http.client":
                raise
            break
    return said


def _remote(host: str, port: int, token: str | None) -> list[str]:
    said = []
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(f"{host}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=SECONDS)
        except grpc.FutureTimeoutError:  # it does not speak gRPC
            return []
        for question in QUESTIONS:
            call: Callable[..., bytes] = channel.unary_unary(question)  # bytes as they are
            try:
                call(b"", timeout=SECONDS, metadata=metadata)
                said.append(f"ANSWERS {question}")
            except grpc.RpcError as error:
                code = error.code()
                if code in _REFUSED:
                    said.append(f"refuses gRPC {code.name}")
                elif code not in _UNKNOWN:
                    said.append(f"ANSWERS {question} {code.name} {error.details()}"[:160])
    return said


if __name__ == "__main__":
    host, *ports = sys.argv[1:]
    with ThreadPoolExecutor(8) as pool:
        said = pool.map(lambda port: knock(host, int(port), os.environ.get("TOKEN")), ports)
        print(json.dumps(dict(zip(ports, said, strict=True))))
