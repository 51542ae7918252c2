"""Ask every port of a host the questions that each kind of Ray server understands, as an outsider could.

Run it on a host outside the cluster: `python port_scan.py HOST PORT...`, with a token in the environment variable TOKEN
or without one. It prints a JSON object of the answer by port. It does not use Ray, whose clients would hold back some
answers of a server.
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
HEALTH = "/grpc.health.v1.Health/Check"  # Ray answers it without a token: only that it serves
# One harmless question per kind of server. A server that does not know it reports that before it asks for the token.
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


def probe_port(host: str, port: int, token: str | None) -> str:
    """Return the answers of a port after "closed", "refuses", "ANSWERS", or "silent" if it understood no question."""
    try:
        socket.create_connection((host, port), timeout=SECONDS).close()
    except OSError as error:
        return f"closed: {error.strerror or error}"
    answers = [*_web(host, port, token), *_remote(host, port, token)]
    alive = f"ANSWERS {HEALTH}"
    for kind in ("ANSWERS", "refuses"):
        if texts := [text.removeprefix(f"{kind} ") for text in answers if text.startswith(kind) and text != alive]:
            return f"{kind}: {'; '.join(dict.fromkeys(texts))}{', is alive' if alive in answers else ''}"
    return "ANSWERS: is alive" if alive in answers else "silent: takes connections, understands none of the questions"


def _web(host: str, port: int, token: str | None) -> list[str]:
    answers = []
    for path in PATHS:
        request = urllib.request.Request(f"http://{host}:{port}{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with _QUIET.open(request, timeout=SECONDS) as answer:
                answers.append(f"ANSWERS GET {path} {answer.status}")
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                answers.append(f"refuses HTTP {error.code}")
            elif error.code not in (404, 405):
                answers.append(f"ANSWERS GET {path} {error.code}")
        except (OSError, ValueError):  # it does not speak HTTP
            break
        except Exception as error:  # http.client's own, of what is no HTTP answer
            if type(error).__module__ != "http.client":
                raise
            break
    return answers


def _remote(host: str, port: int, token: str | None) -> list[str]:
    answers = []
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
                answers.append(f"ANSWERS {question}")
            except grpc.RpcError as error:
                code = error.code()
                if code in _REFUSED:
                    answers.append(f"refuses gRPC {code.name}")
                elif code not in _UNKNOWN:
                    answers.append(f"ANSWERS {question} {code.name} {error.details()}"[:160])
    return answers


if __name__ == "__main__":
    host, *ports = sys.argv[1:]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda port: probe_port(host, int(port), os.environ.get("TOKEN")), ports)
        print(json.dumps(dict(zip(ports, answers, strict=True))))
