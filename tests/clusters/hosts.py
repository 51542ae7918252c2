"""Hosts on this machine: each a network namespace on one switch, with a process tree, a home and an sshd of its own.

Namespaces of Linux make a process see other addresses, processes and mounts than the rest of the machine. So `ray stop`
on one host ends no Ray on another, a host's cable can be pulled, and no packet leaves the machine: the switch leads
nowhere else. Below `/tmp` a host sees only what is given to it; the rest of the file system is the machine's, so that
all have the same Python.
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

from .furnishing import environment, furnish, python_folders

_NETWORK = "10.213.7"
_STORE = "8g"  # of a host's shared memory, at most

# What a host does first; then it becomes its sshd. Its name, its root and the folders that it sees in /tmp are given.
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
    """A host that is up."""

    name: str
    address: str
    root: Path
    process: psutil.Process  # its first
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / "home"

    def start(self, command: str, settings: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Begin a command of its shell, as a person who sits at it would."""
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

    def run(self, command: str, settings: Mapping[str, str] | None = None, seconds: float = 60) -> "Done":
        """Run a command of its shell to its end, or for so long."""
        process = self.start(command, settings)
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            return Done(124, output)
        return Done(process.returncode, output)

    def listening(self) -> list["Socket"]:
        """What waits for connections on it, but for its sshd."""
        found = []
        for line in self.run("ss --no-header --listening --tcp --numeric --processes").output.splitlines():
            where, *rest = line.split()[3:]
            address, _, port = where.rpartition(":")
            program = rest[1].split('"')[1] if len(rest) > 1 else ""
            found.append(Socket(address, int(port), program))
        return sorted({one for one in found if one.program != "sshd"}, key=lambda one: one.port)


@dataclass(frozen=True)
class Done:
    status: int
    output: str


@dataclass(frozen=True)
class Socket:
    address: str
    port: int
    program: str


class Lan:
    """Hosts on a switch. Use as a context: none outlives it.

    Args:
        folder: for what they keep.
        names: of the hosts, the first at address .1
        shared: folders that all hosts see at the path where they lie, as of a file server.
    """

    def __init__(self, folder: Path, names: Sequence[str], shared: Sequence[Path] = ()) -> None:
        self._folder, self._names = folder, names
        self._shared = [*shared, *python_folders()]
        self._tag = f"rs{os.getpid()}"
        self._stack = contextlib.ExitStack()
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> "Lan":
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
        """Pull the host's cable out; plug it in again at the end."""
        link = ("-n", self._space("switch"), "link", "set", host.name)
        self._ip(*link, "down")
        try:
            yield
        finally:
            self._ip(*link, "up")

    def _plug_in(self, stack: contextlib.ExitStack, name: str, address: str) -> Host:
        space = self._space(name)
        self._namespace(stack, name)
        # the cable: one end is called after the host and is the switch's, the other is the host's
        switch = self._space("switch")
        self._ip("-n", space, "link", "add", "lan", "type", "veth", "peer", "name", name, "netns", switch)
        self._ip("-n", switch, "link", "set", name, "master", "switch", "up")
        self._ip("-n", space, "address", "add", f"{address}/24", "dev", "lan")
        self._ip("-n", space, "link", "set", "lan", "up")
        root = self._folder / name
        furnish(root, address)
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


def missing() -> str | None:
    """Why this machine can have no such hosts; None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root, for network namespaces"
    path = os.defpath + ":/usr/sbin:/sbin:" + os.environ.get("PATH", "")
    for program in ("ip", "ss", "sshd", "ssh", "ssh-keygen", "rsync", "unshare", "nsenter"):
        if shutil.which(program, path=path) is None:
            return f"needs {program} (Debian: apt-get install --no-install-recommends iproute2 openssh-server rsync)"
    name = f"rs{os.getpid()}-try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"may make no network namespaces here: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    command = ["unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "--mount-proc", "true"]
    tried = subprocess.run(command, capture_output=True, text=True)
    return f"may make no process namespaces here: {tried.stderr.strip()}" if tried.returncode else None


def _first(process: "subprocess.Popen[bytes]") -> psutil.Process:
    """The first process of the host that `unshare` has made."""
    deadline = time.monotonic() + 30
    while not (children := psutil.Process(process.pid).children()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return children[0]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Switch a host off: with its first process all others of it die."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children():
            child.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
