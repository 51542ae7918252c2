"""Run docs/clusters/aws.md, from the account's stack to `ray down`, in the fake AWS of fake_aws.py; write JSON.

unshare --net --pid --mount --fork --kill-child --mount-proc python -m tests.clusters.ray_up_scenario SCRATCH
"""

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from . import account_stack, iam_policies
from .fake_aws import World

PORT = 8265
FILE = "clusters/aws.yaml"  # as the repository has it
# One worker that needs a GPU: as a trial's, its placement group is what nodes are added for.
JOB = """
import os
import sys
code = os.path.expanduser("~/raysearch")
sys.path.insert(0, code)
import ray
from raysearch.engine import ray_internals
ray.init(runtime_env={"env_vars": {"PYTHONPATH": code}})
for resources, count in ray_internals.autoscaler().types:
    print("may add", resources["CPU"], resources["GPU"], count)
group = ray.util.placement_group([{"CPU": 1, "GPU": 1, "memory": 1 << 20}])
ray.get(group.ready())
print("driver", ray.get_runtime_context().get_node_labels())
strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group)
labels = ray.remote(lambda: ray.get_runtime_context().get_node_labels())
print("worker", ray.get(labels.options(num_gpus=1, scheduling_strategy=strategy).remote()))
for node in ray.nodes():
    has = node["Resources"]
    print("node", node["Labels"]["ray.io/node-group"], has.get("CPU", 0), has.get("GPU", 0))
"""


def main(scratch: Path) -> None:
    world, seen, started = World(scratch), {}, time.monotonic()  # type: World, dict[str, Any], float

    def step(name: str, words: list[str], home: Path | None = None, code: int = 0, **more: str) -> None:
        done = world.run(words, home, **more)
        seen[name] = done.stdout
        print(f"== {time.monotonic() - started:.0f} s {name}: {done.returncode}\n{done.stdout}", flush=True)
        if done.returncode != code:
            sys.exit(f"{name} ended with {done.returncode}, not {code}")

    check = [sys.executable, "-m", "raysearch.cluster", "check", FILE]
    step("token", ["ray", "get-auth-token", "--generate"])
    token = world.home / ".ray" / "auth_token"
    token.chmod(0o644)
    step("check open", check, code=2)
    token.chmod(0o600)
    step("check without stack", check, code=2)
    step("up without stack", ["ray", "up", "--yes", FILE], code=1, RAY_AUTH_MODE="token")
    seen["vpc"] = account_stack.create(world.client)
    step("check in another region", check, code=2, AWS_DEFAULT_REGION="eu-central-1")
    step("check", check)

    begun = len(world.requests)
    seen["up"] = up(world, FILE)
    step("status", ["ray", "exec", FILE, "ray status"])
    seen["loopback"], seen["elsewhere"] = reachable("127.0.0.1"), reachable("10.20.0.1")
    jobs = ["ray", "job", "list", "--address", f"http://127.0.0.1:{PORT}"]
    step("with token", jobs, RAY_AUTH_MODE="token")
    stranger = scratch / "stranger"
    stranger.mkdir()
    step("without token", jobs, stranger, code=1)
    step("with wrong token", jobs, stranger, code=1, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)
    step("job", ["ray", "job", "submit", *jobs[3:], "--", "python", "-c", JOB], RAY_AUTH_MODE="token")
    seen["launched"] = instances(world)
    seen["homes"] = {one["InstanceId"]: home(world.home_of(one["InstanceId"])) for one in seen["launched"]}
    seen["volumes"] = world.client("ec2").describe_volumes()["Volumes"]
    step("down", ["ray", "down", "--yes", FILE])
    seen["left"] = instances(world)
    seen["requests"], seen["calls"] = world.requests[begun:], world.calls
    ec2, iam = world.client("ec2"), world.client("iam")
    seen["groups"] = ec2.describe_security_groups()["SecurityGroups"]
    seen["roles"] = [one["RoleName"] for one in iam.list_roles()["Roles"]]
    seen["outputs"] = found = account_stack.outputs(world.client)
    role = account_stack.role_of(iam, found["HeadProfile"])["RoleName"]
    seen["policy"] = iam_policies.statements(iam, role)
    seen["templates"] = account_stack.templates(world.client)
    seen["worker_role"] = account_stack.role_of(iam, found["WorkerProfile"])["Arn"]
    (scratch / "seen.json").write_text(json.dumps(seen, default=str))
    world.close()


def up(world: World, file: str) -> str:
    """`ray up`, again where a machine that is busy did not start Ray within the 30 s that Ray waits for itself."""
    for _ in range(3):
        done = world.run(["ray", "up", "--yes", file], RAY_AUTH_MODE="token")
        print(f"== up: {done.returncode}\n{done.stdout}", flush=True)
        if "timed out during startup" not in done.stdout:
            break
    if done.returncode:
        sys.exit(f"ray up ended with {done.returncode}")
    return done.stdout


def instances(world: World) -> list[dict[str, Any]]:
    groups = world.client("ec2").describe_instances()["Reservations"]
    return [one for group in groups for one in group["Instances"]]


def reachable(address: str) -> bool:
    """Whether the dashboard answers there."""
    try:
        socket.create_connection((address, PORT), timeout=5).close()
    except OSError:
        return False
    return True


def home(path: Path) -> dict[str, str]:
    """Files of a node's home below three folders, with their modes."""
    files = [one for pattern in (".ray/*", "raysearch/*", "ray_bootstrap*") for one in sorted(path.glob(pattern))]
    return {str(one.relative_to(path)): f"{os.stat(one).st_mode & 0o777:o}" for one in files}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
