"""What is wrong with a file for `ray up`, before it costs money or lets somebody in.

Ray's own checks, for which it would have to reach the cloud first, and what Ray does not ask: that nobody without the
token gets in, that the nodes of a cloud have no more rights and no more openings than they need, and that no place of
the file was left open.
"""

import contextlib
import copy
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from raysearch.core.errors import UserError
from raysearch.engine import ray_internals

_OPEN = re.compile(r"<([A-Za-z]\w*)>")  # a place that the user, or `fill`, has yet to put something in
_TOKEN = ".ray/auth_token"
_LOOPBACK = ("127.0.0.1", "localhost")
_PUBLIC_SSH = 22


def read_cluster_file(path: Path) -> dict[str, Any]:
    """A cluster file as data.

    Raises:
        UserError: no such file, or no YAML mapping.
    """
    try:
        found = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is no cluster file; clusters/ holds some to begin with")
    return found


def fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    """Put values into the places `<Name>` of a file's text; those without a value, and comments, stay.

    >>> print(fill("region: <Region> # of <Region>", {"Region": "us-west-2"}))
    region: us-west-2 # of <Region>
    """
    lines = []
    for line in text.split("\n"):
        said, mark, comment = line.partition("#")
        lines.append(_OPEN.sub(lambda place: values.get(place[1], place[0]), said) + mark + comment)
    return "\n".join(lines)


def open_placeholders(config: object) -> list[str]:
    """The names of the places that are still open, each once.

    >>> open_places({"provider": {"region": "<Region>"}, "subnets": ["<Subnets>", "<Region>"]})
    ['Region', 'Subnets']
    """
    return sorted({name for text in _texts(config) for name in _OPEN.findall(text)})


def find_problems(config: Mapping[str, Any], home: Path) -> list[str]:
    """All that is wrong with a cluster file, a line each.

    Args:
        config: as `read` returns it.
        home: of the user, where the token lies.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Ray warns of what matters to containers alone
            prepared = ray_internals.check_cluster_config(copy.deepcopy(dict(config)))
    except jsonschema.ValidationError as error:
        where = ".".join(str(part) for part in error.absolute_path) or "the file"
        return [f"{where}: Ray does not take it: {error.message.splitlines()[0]}"]
    except Exception as error:  # of no class of its own for a provider, a type or a field that is missing
        return [f"Ray does not take it: {str(error).splitlines()[0] if str(error) else type(error).__name__}"]
    found = [f"<{name}> is still open" for name in open_placeholders(config)]
    found += _of_token(prepared, home)
    found += _of_start(prepared)
    if prepared["provider"]["type"] == "aws":
        found += _of_aws(prepared)
    return found


def _of_token(config: Mapping[str, Any], home: Path) -> Iterator[str]:
    """The token reaches every node, from a file that only its owner reads."""
    local = next((local for remote, local in config["file_mounts"].items() if remote.endswith(_TOKEN)), None)
    if local is None:
        yield f"file_mounts: no node gets the token; add ~/{_TOKEN}: ~/{_TOKEN}"
        return
    path = home / local[2:] if local.startswith("~/") else Path(local)
    if not path.is_file():
        yield f"no token at {path}; make one with: ray get-auth-token --generate && chmod 600 {path}"
    elif path.stat().st_mode & 0o077:
        yield f"others can read {path}; chmod 600 {path}"


def _of_start(config: Mapping[str, Any]) -> Iterator[str]:
    """Ray starts with the token everywhere, and shows its dashboard and job port to nobody."""
    for field in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [one for one in config[field] if "ray start" in one]
        if not starts:
            yield f"{field}: nothing starts Ray"
        for command in starts:
            if "RAY_AUTH_MODE=token" not in command:
                yield f"{field}: RAY_AUTH_MODE=token is missing; Ray would run what anybody sends, or refuse the node"
            host = re.search(r"--dashboard-host[= ](\S+)", command)  # Ray's own default is loopback
            if host and host[1] not in _LOOPBACK:
                yield f"{field}: --dashboard-host={host[1]} shows the job port to others; 127.0.0.1 does not"


def _of_aws(config: Mapping[str, Any]) -> Iterator[str]:
    """Rights, openings, disks and addresses of nodes on AWS."""
    provider = config["provider"]
    if not provider.get("use_internal_ips"):
        yield "provider: use_internal_ips is not true; nodes would need public addresses"
    if provider.get("cache_stopped_nodes", True):
        yield "provider: cache_stopped_nodes is not false; disks of stopped nodes are paid for"
    for rule in provider.get("security_group", {}).get("IpPermissions", []):
        if any(one.get("CidrIp") == "0.0.0.0/0" for one in rule.get("IpRanges", [])):
            yield f"provider: security_group opens port {rule.get('FromPort', _PUBLIC_SSH)} to the world"
    for name, kind in config["available_node_types"].items():
        node = kind["node_config"]
        for field, why in (
            ("ImageId", "Ray would take an image of 2018"),
            ("SecurityGroupIds", "Ray would make one that takes SSH from everywhere"),
            ("IamInstanceProfile", "Ray would give the head all of EC2 and S3, and the workers nothing"),
        ):
            if not node.get(field):
                yield f"{name}: no {field}; {why}"
        if node.get("MetadataOptions", {}).get("HttpTokens") != "required":
            yield f"{name}: MetadataOptions without HttpTokens: required; any request can fetch the role's credentials"
        disks = node.get("BlockDeviceMappings", [])
        if not disks or not all(disk.get("Ebs", {}).get("Encrypted") for disk in disks):
            yield f"{name}: BlockDeviceMappings without Encrypted: true"


def _texts(value: object) -> Iterator[str]:
    """Every text in nested data, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _texts(key)
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
