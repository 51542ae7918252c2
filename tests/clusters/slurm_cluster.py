"""A real SLURM on this machine: a controller, two or more nodes that share the machine, and munge, all on loopback.

Debian's `slurmd` can run several times on one machine. Each node is a name and a port. Nothing of the machine's own
SLURM is used: key, sockets, logs and state are in a folder of the test.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

from raysearch.core.cpus import count_cpus

ROOT = Path(__file__).parents[2]
_PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "squeue", "scancel")
_PATH = os.defpath + ":/usr/sbin:/sbin"
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}

# A requeued job waits as long as its old credential is valid, two minutes by default.
_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin={pinning}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=20
MinJobAge=3600
SlurmdTimeout=150
MailProg=/bin/true
{nodes}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


class SlurmCluster:
    """A running cluster. Use it as a context: none of its processes outlives it.

    Args:
        folder: for its files.
        nodes: names of the nodes.
        cpus: of each node, whatever the machine has.
        memory: of each node, in MB.
        wrapper: words before the command of a node's daemon, such as those of another view of the file system.
    """

    def __init__(
        self,
        folder: Path,
        nodes: Sequence[str] = ("n1", "n2"),
        cpus: int = 2,
        memory: int = 9000,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self._wrapper = wrapper
        self._stack = contextlib.ExitStack()
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        ports = _free_ports(len(nodes) + 1)
        host = socket.gethostname()
        lines = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory}"
            for name, port in zip(nodes, ports[1:], strict=True)
        ]
        self._names = nodes
        self._config = folder / "slurm.conf"
        for name in ("state", *(f"spool-{name}" for name in nodes)):
            (folder / name).mkdir()
        text = _CONFIG.format(
            host=host,
            controller=ports[0],
            user=getpass.getuser(),
            folder=folder,
            nodes="\n".join(lines),
            pinning="task/affinity" if cpus <= count_cpus() else "task/none",  # to CPUs that the machine has
        )
        self._config.write_text(text)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.environment = {**os.environ, "SLURM_CONF": str(self._config)}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            munge = ["munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket"]
            munge += [f"--key-file={self.folder}/munge.key", f"--pid-file={self.folder}/munged.pid"]
            munge += [f"--seed-file={self.folder}/munged.seed", f"--log-file={self.folder}/munged.log"]
            self._start(stack, munge)
            wait_until((self.folder / "munge.socket").exists, "munge", 30)
            self._start(stack, ["slurmctld", "-D", "-f", str(self._config)])
            for name in self._names:
                self.start_node(name)
            stack.callback(self._end_nodes)
            wait_until(lambda: self.call("sinfo", "-h", "-o", "%T").split() == ["idle"], "idle nodes", 120)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for job in self.call("squeue", "-h", "-o", "%A").split():
            self.call("scancel", "--signal=KILL", "--full", job)
            self.call("scancel", job)
        self._stack.close()

    def start_node(self, name: str) -> None:
        """Start the node's daemon."""
        command = [*self._wrapper, "slurmd", "-D", "-N", name, "-f", str(self._config)]
        self._nodes[name] = subprocess.Popen(
            command, env=self._daemon_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill_node(self, name: str) -> None:
        """Kill the node's daemon, with all that its jobs run there."""
        daemon = psutil.Process(self._nodes[name].pid)
        running = [process for step in self.steps(name) for process in [step, *step.children(recursive=True)]]
        for process in [daemon, *running]:
            _kill(process)
        self._nodes[name].wait(timeout=30)

    def steps(self, name: str) -> list[psutil.Process]:
        """Return the processes that supervise the steps of a node."""
        daemons = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == "slurmstepd" and f"{self.folder}/spool-{name}" in self._spool_of(process):
                    daemons.append(process)
        return daemons

    def _spool_of(self, process: psutil.Process) -> str:
        return " ".join(connection.laddr for connection in process.net_connections("unix") if connection.laddr)

    def submit(
        self, *words: object, folder: Path, settings: Mapping[str, str] | None = None, user: str | None = None
    ) -> int:
        """Submit a job from a folder, as a user of this machine, and return its number."""
        python = str(Path(sys.executable).parent)
        environment = {**self.environment, "PYTHONPATH": str(ROOT), **(settings or {})}
        environment["PATH"] = f"{python}:{os.environ['PATH']}"
        done = subprocess.run(
            [*as_user(user), "sbatch", "--parsable", *map(str, words)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split(";")[0])

    def states(self, job: int) -> list[str]:
        """Return the state of a job, or of each job of an array."""
        output = self.call("scontrol", "show", "job", "--oneliner", str(job))
        return [word.partition("=")[2] for word in output.split() if word.startswith("JobState=")]

    def field(self, job: int, name: str) -> str:
        """Return a field of `scontrol show job`."""
        words = self.call("scontrol", "show", "job", "--oneliner", str(job)).split()
        return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))

    def wait_for_end(self, job: int, seconds: float) -> list[str]:
        """Return the states of a job, or of the jobs of an array, when all have ended."""
        wait_until(lambda: set(self.states(job)) <= _ENDED, f"the end of job {job}", seconds)
        return self.states(job)

    def call(self, *words: str) -> str:
        """Run a command of SLURM and return its output."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60).stdout

    def _start(self, stack: contextlib.ExitStack, command: list[str]) -> None:
        process = subprocess.Popen(
            command, env=self._daemon_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        stack.callback(_end, process)

    def _daemon_environment(self) -> dict[str, str]:
        return {"PATH": _PATH, "SLURM_CONF": str(self._config)}

    def _end_nodes(self) -> None:
        for name, process in self._nodes.items():
            for step in self.steps(name):
                for child in step.children(recursive=True):
                    _kill(child)
                _kill(step)
            _end(process)


def as_user(name: str | None) -> list[str]:
    """Return the beginning of a command line whose rest runs as a user of this machine; None is this one."""
    return ["setpriv", f"--reuid={name}", f"--regid={name}", "--clear-groups"] if name else []


def wait_until(happened: Callable[[], object], what: str, seconds: float) -> None:
    """Wait for something, and fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"no sign of {what} after {seconds:.0f} s"
        time.sleep(0.5)


def missing_requirement() -> str | None:
    """Return why this machine cannot have such a cluster; None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root"
    missing = [program for program in _PROGRAMS if shutil.which(program, path=_PATH) is None]
    return f"needs {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)" if missing else None


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=15)
