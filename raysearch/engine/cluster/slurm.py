"""A Ray on the nodes of a SLURM job, within the job's share of each node. Nothing outside of the job is touched.

`ray symmetric-run` counts the CPUs of the machine, needs no token, and ends by stopping every Ray of the user.
Here each node's Ray is a job step, which SLURM confines and ends. It requires a random token that only the job has, and
its ports are free ones. Its folder has the job's number in its name and is closed to other users.
"""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from raysearch.core import UserError, run_periodically
from raysearch.core.interrupt import signals_handled
from raysearch.engine import ray_internals
from raysearch.engine.cluster import memory

HEAD_LOST = 75  # exit code, EX_TEMPFAIL: try again

_FIRST_PORT = 20_000  # below the ports that Linux hands out by itself
_PORTS = 10_000
_START_SECONDS = 300.0  # a file server may be slow to deliver Ray
_CHECK_SECONDS = 5.0
_END_SECONDS = 30.0
_SILENT_SECONDS = 120.0  # srun does not notice that the daemon of its step was killed
_STARTED = "Ray runtime started"

# On each node. The folder above the job's is the one that is closed to others; see clusters/on_prem.yaml.
_ON_NODE = """
umask 077
parent=${0%/*}
mkdir -p "$parent" && test -O "$parent" && test ! -L "$parent" && chmod 700 "$parent" && mkdir -p "$0" ||
    { echo "$parent on $(hostname) belongs to another user; remove it" >&2; exit 1; }
trap : TERM # of a job that ends
ulimit -S -n "$(ulimit -H -n)"
ray start --block --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --temp-dir="$0" "$@" &
ray=$!
while sleep 10 && kill -0 $ray 2>/dev/null; do echo alive; done & # srun passes on whole lines only
wait $ray
wait
rm -rf "$0"
"""


@dataclass(frozen=True)
class SlurmJob:
    """The SLURM job that this process runs in.

    Args:
        number: the job's id.
        nodes: names, the first is this one.
        cpus: that the job has on each node.
        memory: bytes that the job has on each node; None if SLURM does not limit it.
    """

    number: int
    nodes: tuple[str, ...]
    cpus: int
    memory: int | None

    @classmethod
    def current(cls) -> Self:
        """Return the job by the variables that SLURM has set.

        Raises:
            UserError: this process is not in a SLURM job.
        """
        environment = os.environ
        if "SLURM_JOB_ID" not in environment:
            raise UserError("this is not a SLURM job; submit it with: sbatch clusters/slurm.sbatch STUDY")
        cpus = int(environment.get("SLURM_CPUS_PER_TASK") or environment["SLURM_CPUS_ON_NODE"])
        nodes = _ask_slurm("show", "hostnames", environment["SLURM_JOB_NODELIST"]).split()
        return cls(int(environment["SLURM_JOB_ID"]), tuple(nodes), cpus, memory.slurm_share())

    @property
    def folder(self) -> str:
        """Ray's folder on each node. It is short, because the paths of sockets are limited."""
        return f"/tmp/raysearch-{os.getuid()}/{self.number}"


class SlurmRay:
    """A Ray on all nodes of a job. Use it as a context: it ends with the block.

    Args:
        job: the job.

    Attributes:
        address: that drivers join.
        environment: of drivers. It holds the token, which is in no file.

    Raises:
        UserError: on entering, when Ray does not start on a node.
    """

    def __init__(self, job: SlurmJob) -> None:
        self._job = job
        port, self._client_port = free_ports(job.number, 2)
        self.address = f"{_address_of(job.nodes[0])}:{port}"
        self.environment = {
            **os.environ,
            **{name: str(limit) for name, limit in ray_internals.HEAD_HISTORY_LIMITS.items()},
            **ray_internals.random_token(),
            "RAY_ADDRESS": self.address,
        }
        self._steps: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="raysearch-slurm-")))
            stack.callback(self._stop)
            head, *others = self._job.nodes
            self._start(head)
            self._wait_for(head)
            for node in others:
                self._start(node)
            for node in others:
                self._wait_for(node)
            stack.enter_context(run_periodically(self._start_again, _CHECK_SECONDS))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def is_lost(self) -> bool:
        """Whether the head has ended."""
        return self._steps[self._job.nodes[0]].poll() is not None

    def _start(self, node: str) -> None:
        words = ["srun", "--nodes=1", "--ntasks=1", f"--nodelist={node}", f"--cpus-per-task={self._job.cpus}"]
        words += ["--overlap", "--no-kill", "--kill-on-bad-exit=0", "bash", "-c", _ON_NODE, self._job.folder]
        with (self._logs / node).open("wb") as log:
            self._steps[node] = subprocess.Popen(
                words + self._ray_options(node),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a signal for the driver's group is none for Ray
            )

    def _ray_options(self, node: str) -> list[str]:
        """Return the options of `ray start`. A port of 0 is any free one; Ray's defaults are the same for all jobs."""
        options = [f"--num-cpus={self._job.cpus}", "--disable-usage-stats", f"--node-ip-address={_address_of(node)}"]
        options += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
        shares = memory.ray_shares(self._job.memory)
        options += [f"--{name.replace('_', '-')}={share}" for name, share in shares.items()]
        if node != self._job.nodes[0]:
            return [*options, f"--address={self.address}"]
        port = self.address.rpartition(":")[2]
        # Ray ends if its server for Ray Client, which nobody uses here, finds its port taken by another job.
        options += ["--head", f"--port={port}", f"--ray-client-server-port={self._client_port}"]
        return [*options, "--include-dashboard=false"]

    def _wait_for(self, node: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while _STARTED not in (text := (self._logs / node).read_text(errors="replace")):
            ended = self._steps[node].poll()
            if ended is not None or self.is_lost or time.monotonic() > deadline:
                lines = [line for line in text.splitlines() if line.strip() and line != "alive"]
                raise UserError(f"Ray did not start on node {node}: {lines[-1] if lines else 'it printed nothing'}")
            time.sleep(0.2)

    def _start_again(self) -> None:
        """Start Ray again on nodes that lost it. Without the head there is nothing to join."""
        for node in self._job.nodes[1:]:
            silent = time.time() - (self._logs / node).stat().st_mtime > _SILENT_SECONDS
            if silent:
                self._steps[node].kill()
            if (silent or self._steps[node].poll() is not None) and not self.is_lost:
                self._start(node)

    def _stop(self) -> None:
        """End the steps and remove Ray's folders. srun kills a step when it gets SIGTERM itself."""
        for step in self._steps.values():
            step.terminate()
        for step in self._steps.values():
            try:
                step.wait(timeout=_END_SECONDS)
            except subprocess.TimeoutExpired:
                step.kill()
        count = len(self._job.nodes)
        everywhere = ["srun", f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--overlap", "--no-kill"]
        with contextlib.suppress(subprocess.TimeoutExpired):  # a lost node keeps its folder
            subprocess.run([*everywhere, "rm", "-rf", self._job.folder], capture_output=True, timeout=_END_SECONDS)


def free_ports(job: int, count: int) -> list[int]:
    """Return ports of this machine that no process listens on, from one on that depends on the job's number.

    Raises:
        UserError: there are not enough.
    """
    ports: list[int] = []
    for offset in range(_PORTS):
        port = _FIRST_PORT + (job * count + offset) % _PORTS
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise UserError(f"no {count} free ports from {_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1} on this machine")


def _address_of(node: str) -> str:
    """Return the address by which SLURM itself reaches a node."""
    fields = dict(word.split("=", 1) for word in _ask_slurm("show", "node", node, "--oneliner").split() if "=" in word)
    try:
        return socket.gethostbyname(fields.get("NodeAddr", node))
    except OSError as error:
        raise UserError(f"node {node} has no address: {error}") from None


def _ask_slurm(*words: str) -> str:
    try:
        return subprocess.run(["scontrol", *words], capture_output=True, text=True, check=True, timeout=60).stdout
    except FileNotFoundError:
        raise UserError("scontrol is not installed here; run this on a machine of the SLURM cluster") from None
    except subprocess.SubprocessError as error:
        reason = str(getattr(error, "stderr", "") or error).strip().splitlines()
        raise UserError(f"scontrol {' '.join(words)}: {reason[-1]}") from None


def run_command(command: Sequence[str], ray: SlurmRay) -> int:
    """Run a command that joins a Ray by `RAY_ADDRESS`, and return its exit code. Signals are passed on to it.

    Args:
        command: and its arguments.
        ray: is started before the command and stopped after it.

    Returns:
        The command's exit code, as a shell has it; `HEAD_LOST` if it failed after the Ray's head was lost.
    """
    with ray:
        process = subprocess.Popen(command, env=ray.environment)
        with signals_handled((signal.SIGTERM, signal.SIGUSR1), lambda number, frame: process.send_signal(number)):
            code = process.wait()
        if code and ray.is_lost:
            return HEAD_LOST
    return code if code >= 0 else 128 - code
