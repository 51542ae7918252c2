"""A fake AWS in which `ray up` can be tried: AWS, a user's machine and nodes, all on this machine's loopback.

`unshare --net --pid --mount ...` runs it in a network namespace with nothing but loopback, so no packet can leave the
machine, and in a PID namespace with which every process ends. AWS is moto's server. `ssh`, `rsync`, `pip` and `uv` are
replaced by fake_tool.py, first on PATH, which asks this process. A node's command runs in a home, a PID namespace and a
temporary folder of its own. Nothing is installed: nodes use the environment that runs the tests. Ray itself is real.

    world = World(scratch); world.run(["ray", "up", ...]); world.requests; world.calls
"""

import hashlib
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .account_stack import NETWORK, REGION
from .fake_tool import ADDRESS, HERE

_OWN_ADDRESS = "10.20.0.1"
_ASKED_FOR_THE_WAY = "8.8.8.8"  # Ray finds its own address by the route to it; no packet is sent
_USER_KEY, _NODE_KEY = "AKIAUSERUSERUSERUSER", "AKIANODENODENODENODE"
_USER = "world-of-aws-tests"  # by its hash `ray up` names a folder in /tmp, for connections that ssh shares
_SHARED = Path("/tmp") / f"ray_ssh_{hashlib.sha256(_USER.encode()).hexdigest()[:10]}"
_CHECKOUT = Path(__file__).parents[2]
# A node's Python, whose virtual environments have the stand-in's pip.
_PYTHON = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exec {python} "$@"
for folder; do :; done
mkdir -p "$folder/bin" && ln -s {pip} "$folder/bin/pip"
"""


class World:
    """AWS, and a user's machine with an empty home."""

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._holders = scratch, {}  # type: Path, dict[str, int]
        self._lock = threading.Lock()
        self.home = scratch / "user"
        self.requests: list[dict[str, Any]] = []  # that AWS was sent: who ("user" or "node"), action, form
        self.calls: list[dict[str, Any]] = []  # of the stand-ins
        for folder in ("user", "nodes", "bin", "tmp"):
            (scratch / folder).mkdir()
        for tool in ("ssh", "rsync", "pip", "uv", "aws"):
            (scratch / "bin" / tool).symlink_to(Path(__file__).with_name("fake_tool.py"))
        (scratch / "bin" / "python3").write_text(_PYTHON.format(python=sys.executable, pip=scratch / "bin" / "pip"))
        (scratch / "bin" / "python3").chmod(0o755)
        _only_loopback()
        self.address = self._serve()
        self.environment = {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",  # else a client asks a cloud's own address
            ADDRESS: self.address,
            "PATH": f"{scratch / 'bin'}:{Path(sys.prefix) / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
            "TMPDIR": str(scratch / "tmp"),  # `ray up` keeps a cache of what it resolved there
            "TERM": "dumb",
            "LOGNAME": _USER,
        }

    def run(self, words: list[str], home: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """A command of the user's, in the checkout."""
        environment = {**self.environment, "AWS_ACCESS_KEY_ID": _USER_KEY, "HOME": str(home or self.home), **more}
        return subprocess.run(
            words,
            cwd=_CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
        )

    def close(self) -> None:
        """Remove what was written outside the scratch folder; processes end with the namespace."""
        shutil.rmtree(_SHARED, ignore_errors=True)

    def home_of(self, node: str) -> Path:
        return self._scratch / "nodes" / node

    def client(self, service: str) -> Any:
        """The user's client of an AWS service."""
        import boto3

        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.address,
            aws_access_key_id=_USER_KEY,
            aws_secret_access_key="x",
        )

    def _serve(self) -> str:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        aws = DomainDispatcherApplication(create_backend_app)

        def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            if environ["PATH_INFO"] == "/world":
                answer = json.dumps(self._answer(json.loads(body))).encode()
                start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
                return [answer]
            environ["wsgi.input"] = io.BytesIO(body)
            self._note(environ, body)
            return aws(environ, start)

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = make_server("127.0.0.1", 0, application, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    def _note(self, environ: dict[str, Any], body: bytes) -> None:
        who = "node" if _NODE_KEY in environ.get("HTTP_AUTHORIZATION", "") else "user"
        service = re.search(r"/(\w+)/aws4_request", environ.get("HTTP_AUTHORIZATION", ""))
        form = dict(urllib.parse.parse_qsl(body.decode("latin1")))
        action = form.get("Action", f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        self.requests.append({"who": who, "action": f"{service[1] if service else '?'}:{action}", "form": form})

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(asked)
        words, home = asked["words"], Path(asked["home"])
        match asked["tool"]:
            case "ssh":
                return self._ssh(words)
            case "rsync":
                return self._rsync(words, Path(asked["cwd"]))
            case "pip" if Path(words[-1]).is_file():  # the file of uv's hashes
                (home / "uv" / "bin" / "uv").symlink_to(self._scratch / "bin" / "uv")
                return _done()
            case "uv" if words[0] == "venv":
                (home / "venv").symlink_to(sys.prefix)
                return _done()
            case "uv":
                return _done("" if (home / "raysearch" / "pyproject.toml").is_file() else "no project\n")
        return _done(f"nobody should call {asked['tool']}\n", 1)

    def _ssh(self, words: list[str]) -> dict[str, Any]:
        taking_a_value = {"-i", "-o", "-L"}
        place = 0
        while words[place].startswith("-"):
            place += 2 if words[place] in taking_a_value else 1
        _, _, host = words[place].partition("@")
        node = self._node(host)
        environment = {
            **{name: value for name, value in self.environment.items() if name != "TMPDIR"},
            "AWS_ACCESS_KEY_ID": _NODE_KEY,
            "HOME": str(self.home_of(node)),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",  # a node has what its setup installs
            "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "100000000",
            HERE: node,
        }
        # A file, not a pipe, which Ray's processes could hold open for ever.
        with (self._scratch / "tmp" / f"out-{threading.get_ident()}").open("w+b") as output:
            inside = ["nsenter", "-t", str(self._holder(node)), "--pid", "--mount"]
            command = [*inside, "sh", "-c", " ".join(words[place + 1 :])]
            code = subprocess.call(
                command,
                cwd=self.home_of(node),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            output.seek(0)
            return _done(output.read().decode(errors="replace"), code)

    def _rsync(self, words: list[str], cwd: Path) -> dict[str, Any]:
        source, target = words[-2:]
        _, _, host = target.partition("@")
        host, _, remote = host.partition(":")
        path = self.home_of(self._node(host)) / remote.removeprefix("~/")
        local = cwd / os.path.expandvars(source)
        if local.is_dir():
            shutil.copytree(local, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(local, path)  # with its mode, as -a does
        return _done()

    def _node(self, host: str) -> str:
        """The instance of an id or a private address."""
        found = self.client("ec2").describe_instances()["Reservations"]
        for instance in (one for group in found for one in group["Instances"]):
            if host in (instance["InstanceId"], instance.get("PrivateIpAddress")):
                home = self.home_of(instance["InstanceId"])
                if not home.exists():
                    home.mkdir()
                    # A login shell of Ubuntu sets PATH afresh; the stand-ins come first.
                    (home / ".bashrc").write_text(f'export PATH="{self._scratch / "bin"}:$PATH"\n')
                return instance["InstanceId"]
        raise LookupError(f"no node {host}")

    def _holder(self, node: str) -> int:
        """The first process of a node's namespaces."""
        with self._lock:
            if node not in self._holders:
                own = self.home_of(node) / "tmp"  # of Ray; its logs can be read when something went wrong
                for folder in (own, Path("/tmp/ray")):
                    folder.mkdir(exist_ok=True)
                shell = f"mount --bind {own} /tmp/ray && echo up && exec sleep infinity"
                outer = subprocess.Popen(
                    ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "sh", "-c", shell],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                assert outer.stdout is not None
                assert outer.stdout.readline() == "up\n"
                self._holders[node] = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text())
            return self._holders[node]


def _done(output: str = "", code: int = 0) -> dict[str, Any]:
    return {"output": output, "code": code}


def _only_loopback() -> None:
    """Give the namespace its loopback, and the VPC's addresses with it."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(links) == 1, f"a namespace of its own has nothing but loopback, not {links}"
    for words in (
        "link set lo up",
        f"addr add {_OWN_ADDRESS}/32 dev lo",
        f"route add local {NETWORK} dev lo",  # so a node is where moto says that it is
        f"route add {_ASKED_FOR_THE_WAY} dev lo src {_OWN_ADDRESS}",
    ):
        subprocess.run(["ip", *words.split()], check=True)
