"""Hosts on this machine: network namespaces on one switch, each with processes, a home and an sshd of its own.

Linux namespaces give a process its own addresses, processes and mounts. So `ray stop` on one host ends no Ray on
another, a host's cable can be pulled, and no packet leaves the machine, because the switch leads nowhere else. Below
`/tmp` a host sees only the folders that it is given. The rest of the file system is shared, so all hosts have the same
Python.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from .host_setup import environment, prepare_host, python_folders

_NETWORK = "10.213.7"
_STORE = "8g"  # of a host's shared memory, at most

# The first commands of a host, which then becomes its sshd. Arguments: its name, its root, the folders it sees in /tmp.
_INIT = """
set -e
name=$1 root=$2; shift 2
hostname "$name"
ip link set lo up
mount -t tmpfs -o size={store} tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
for folder; do
    case $folder in /tmp/*)
        mkdir -p "$root$folder"
        mount --rbind "$folder" "$root$folder"
    esac
done
mount --bind "$root/passwd" /etc/passwd
mount --rbind "$root/tmp" /tmp
chmod 1777 /tmp
exec /usr/sbin/sshd -D -e -f "$root/sshd_config"
"""


@dataclass
class Host:
    """A running host."""

    name: str
    address: str
    root: Path
    process: psutil.Process  # its first
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / "home"

    def start(self, command: str, settings: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start a command in the host's shell."""
        words = ["nsenter", "--target", str(self.process.pid), "--all"]
        return subprocess.Popen(
            [*words, "bash", "-c", f"cd && {command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self.environment, **(settings or {})},
            start_new_session=True,
        )

    def run(self, command: str, settings: Mapping[str, str] | None = None, seconds: float = 60) -> "Result":
        """Run a command in the host's shell; after `seconds` it is killed, and its status is 124."""
        process = self.start(command, settings)
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            return Result(124, output)
        return Result(process.returncode, output)

    def listening(self) -> list["Socket"]:
        """Return the listening sockets of the host, except those of its sshd."""
        sockets = []
        for line in self.run("ss --no-header --listening --tcp --numeric --processes").output.splitlines():
            bound, *rest = line.split()[3:]
            address, _, port = bound.rpartition(":")
            program = rest[1].split('"')[1] if len(rest) > 1 else ""
            sockets.append(Socket(address, int(port), program))
        return sorted({socket for socket in sockets if socket.program != "sshd"}, key=lambda socket: socket.port)


@dataclass(frozen=True)
class Result:
    status: int
    output: str


@dataclass(frozen=True)
class Socket:
    address: str
    port: int
    program: str


class Network:
    """Hosts on a switch. Use it as a context: no host outlives it.

    Args:
        folder: for the files of the hosts.
        names: of the hosts; the first has address .1.
        shared: folders that all hosts see at the same path, such as those of a file server.
    """

    def __init__(self, folder: Path, names: Sequence[str], shared: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._names = names
        self._shared = [*shared, *python_folders()]
        self._tag = f"rs{os.getpid()}"
        self._stack = contextlib.ExitStack()
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> "Network":
        with contextlib.ExitStack() as stack:
            self._namespace(stack, "switch")
            self._ip("-n", self._space("switch"), "link", "add", "switch", "type", "bridge")
            self._ip("-n", self._space("switch"), "link", "set", "switch", "up")
            for number, name in enumerate(self._names, start=1):
                self.hosts[name] = self._plug_in(stack, name, f"{_NETWORK}.{number}")
            for host in self.hosts.values():
                self._wait_for_sshd(host)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def cut_off(self, host: Host) -> Iterator[None]:
        """Pull out the host's cable while the block runs."""
        link = ("-n", self._space("switch"), "link", "set", host.name)
        self._ip(*link, "down")
        try:
            yield
        finally:
            self._ip(*link, "up")

    def _plug_in(self, stack: contextlib.ExitStack, name: str, address: str) -> Host:
        space = self._space(name)
        self._namespace(stack, name)
        # The cable: the switch's end has the host's name, the host's end is called lan.
        switch = self._space("switch")
        self._ip("-n", space, "link", "add", "lan", "type", "veth", "peer", "name", name, "netns", switch)
        self._ip("-n", switch, "link", "set", name, "master", "switch", "up")
        self._ip("-n", space, "address", "add", f"{address}/24", "dev", "lan")
        self._ip("-n", space, "link", "set", "lan", "up")
        root = self._folder / name
        prepare_host(root, address)
        unshare = ["unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        command = ["ip", "netns", "exec", space, *unshare, "bash", "-c", _INIT.format(store=_STORE), "init"]
        log = stack.enter_context((root / "sshd.log").open("w"))
        process = subprocess.Popen(
            [*command, name, str(root), *map(str, [root, *self._shared])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.defpath + ":/usr/sbin:/sbin"},
            start_new_session=True,
        )
        stack.callback(_end, process)
        return Host(name, address, root, _first(process), environment(root))

    def _wait_for_sshd(self, host: Host) -> None:
        log, deadline = host.root / "sshd.log", time.monotonic() + 30
        while "Server listening" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    def _namespace(self, stack: contextlib.ExitStack, name: str) -> None:
        self._ip("netns", "add", self._space(name))
        stack.callback(self._ip, "netns", "delete", self._space(name))

    def _space(self, name: str) -> str:
        return f"{self._tag}-{name}"

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def missing_requirement() -> str | None:
    """Return why this machine cannot have such hosts; None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root, for network namespaces"
    path = os.defpath + ":/usr/sbin:/sbin:" + os.environ.get("PATH", "")
    for program in ("ip", "ss", "sshd", "ssh", "ssh-keygen", "rsync", "unshare", "nsenter"):
        if shutil.which(program, path=path) is None:
            return f"needs {program} (Debian: apt-get install --no-install-recommends iproute2 openssh-server rsync)"
    name = f"rs{os.getpid()}-try"
    attempt = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if attempt.returncode:
        return f"may make no network namespaces here: {attempt.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    command = ["unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "--mount-proc", "true"]
    attempt = subprocess.run(command, capture_output=True, text=True)
    return f"may make no process namespaces here: {attempt.stderr.strip()}" if attempt.returncode else None


def _first(process: "subprocess.Popen[bytes]") -> psutil.Process:
    """Return the first process of a host, which `unshare` has started."""
    deadline = time.monotonic() + 30
    while not (children := psutil.Process(process.pid).children()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return children[0]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Stop a host: when its first process dies, all its processes die."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children():
            child.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
