"""Checks of a file for `ray up`, and the node types that it defines.

Ray makes its own checks only when it reaches the cloud; here they are made first. Further checks are about what Ray
does not ask: every node needs the token, nodes of a cloud have no more rights and open ports than they need, and every
placeholder is filled in.
"""

import contextlib
import copy
import io
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from raysearch.core import UserError
from raysearch.engine import ray_internals
from raysearch.engine.cluster import prices
from raysearch.engine.preflight.check_result import CheckResult, passed, warned
from raysearch.engine.preflight.node_types import NodeType

_PLACEHOLDER = re.compile(r"<([A-Za-z]\w*)>")
_FILLED_LINE = re.compile(r"^(\s*)(?:[^#]*\s)?# fill: (.*)$")
_TOKEN = ".ray/auth_token"
_LOOPBACK = ("127.0.0.1", "localhost")
_SSH_PORT = 22
_DEFAULT_MAX_WORKERS = 2  # Ray's


def read_cluster_file(path: Path) -> dict[str, Any]:
    """Return the content of a cluster file.

    Raises:
        UserError: the file cannot be read, or is not a YAML mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a cluster file; start from one in clusters/")
    return content


def fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders `<Name>` of a file's text. Those without a value, and comments, stay.

    TEXT of a comment `# fill: TEXT` replaces the line if all its placeholders have values.

    >>> print(fill_placeholders("region: <Region> # of <Region>", {"Region": "us-west-2"}))
    region: us-west-2 # of <Region>
    >>> print(fill_placeholders("  name: raysearch # fill: name: <Name>", {"Name": "birds"}))
      name: birds
    """
    lines = []
    for line in text.split("\n"):
        other = _FILLED_LINE.match(line)
        if other and set(_PLACEHOLDER.findall(other[2])) <= values.keys():
            lines.append(other[1] + _PLACEHOLDER.sub(lambda match: values[match[1]], other[2]))
            continue
        content, mark, comment = line.partition("#")
        filled = _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), content)
        lines.append(filled + mark + comment)
    return "\n".join(lines)


def open_placeholders(config: object) -> list[str]:
    """Return the names of the placeholders that are not filled in, each once.

    >>> open_placeholders({"provider": {"region": "<Region>"}, "subnets": ["<Subnets>", "<Region>"]})
    ['Region', 'Subnets']
    """
    return sorted({name for text in _texts(config) for name in _PLACEHOLDER.findall(text)})


def node_types(config: Mapping[str, Any]) -> list[NodeType]:
    """Return the node types of a cluster file, the head first. A type without a limit has the cluster's.

    >>> worker = {"max_workers": 3, "resources": {}, "node_config": {"InstanceType": "g6.2xlarge"}}
    >>> types = {"head": {"resources": {"CPU": 0}}, "gpu": worker}
    >>> node_types({"head_node_type": "head", "max_workers": 2, "available_node_types": types})[1].max_count
    2
    """
    head_name = config.get("head_node_type")
    max_workers = config.get("max_workers", _DEFAULT_MAX_WORKERS)
    types = []
    for name, section in config.get("available_node_types", {}).items():
        node_config = section.get("node_config") or {}
        instance_type = node_config.get("InstanceType", "")
        machine = prices.machine_types().get(instance_type)
        machine_resources = {"CPU": machine.vcpus, "GPU": machine.gpus} if machine else {}
        types.append(
            NodeType(
                name,
                max_count=1 if name == head_name else min(section.get("max_workers", max_workers), max_workers),
                resources={**machine_resources, **(section.get("resources") or {})},
                instance_type=instance_type,
                spot=(node_config.get("InstanceMarketOptions") or {}).get("MarketType") == "spot",
                price=prices.price_of_node({prices.TYPE_LABEL: instance_type, **(section.get("labels") or {})}),
            )
        )
    return sorted(types, key=lambda node_type: node_type.name != head_name)


def find_problems(config: Mapping[str, Any], home: Path) -> list[str]:
    """Return one line for each problem of a cluster file.

    Args:
        config: content of the file.
        home: the user's home directory, which holds the token.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Ray warns of what matters only to containers
            prepared = ray_internals.check_cluster_config(copy.deepcopy(dict(config)))
    except jsonschema.ValidationError as error:
        where = ".".join(str(part) for part in error.absolute_path) or "the file"
        return [f"{where}: Ray rejects it: {error.message.splitlines()[0]}"]
    except Exception as error:  # a missing provider, type or field raises no class of its own
        return [f"Ray rejects the file: {str(error).splitlines()[0] if str(error) else type(error).__name__}"]
    problems = [f"<{name}> is not filled in" for name in open_placeholders(config)]
    problems += _token_problems(prepared, home)
    problems += _start_problems(prepared)
    if prepared["provider"]["type"] == "aws":
        problems += _aws_problems(prepared)
    return problems


def _token_problems(config: Mapping[str, Any], home: Path) -> Iterator[str]:
    """Check that every node gets the token, from a file that only its owner can read."""
    local = next((local for remote, local in config["file_mounts"].items() if remote.endswith(_TOKEN)), None)
    if local is None:
        yield f"file_mounts: no node gets the token; add ~/{_TOKEN}: ~/{_TOKEN}"
        return
    path = home / local[2:] if local.startswith("~/") else Path(local)
    if not path.is_file():
        yield f"no token at {path}; make one with: ray get-auth-token --generate && chmod 600 {path}"
    elif path.stat().st_mode & 0o077:
        yield f"other users can read {path}; chmod 600 {path}"


def _start_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Check that Ray starts with the token on every node, and that its dashboard and job port are on loopback."""
    for field in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = [command for command in config[field] if "ray start" in command]
        if not commands:
            yield f"{field}: no command starts Ray"
        for command in commands:
            if "RAY_AUTH_MODE=token" not in command:
                yield (f"{field}: RAY_AUTH_MODE=token is missing; Ray would run code from anyone, or refuse the node")
            host = re.search(r"--dashboard-host[= ](\S+)", command)  # Ray's own default is loopback
            if host and host[1] not in _LOOPBACK:
                yield f"{field}: --dashboard-host={host[1]} opens the job port to others; use 127.0.0.1"


def check_folders(config: Mapping[str, Any]) -> Iterator[CheckResult]:
    """Check that Ray's folder is closed to other users, on machines that may have some. A cloud's node has one user.

    Args:
        config: content of the file.
    """
    if (config.get("provider") or {}).get("type") != "local":
        return
    problems = [
        f"{field}: other users of a machine could write to Ray's folder and run code; see clusters/on_prem.yaml"
        for field in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in config.get(field) or []
        if "ray start" in command and not _has_closed_folder(str(command))
    ]
    yield from map(partial(warned, "folder"), problems)
    if not problems:
        yield passed("folder", "Ray's folder is closed to other users")


def _has_closed_folder(command: str) -> bool:
    """Return whether a start command gives Ray a folder at home, or makes its owner and mode certain.

    >>> _has_closed_folder("ray start --head"), _has_closed_folder("ray start --head --temp-dir=~/ray")
    (False, True)
    """
    folder = re.search(r"--temp-dir[ =]['\"]?(\S+)", command)
    if folder is None:
        return False
    at_home = folder[1].startswith(("~/", "$HOME/", "${HOME}/", "$XDG_RUNTIME_DIR/"))
    return at_home or ("test -O" in command and re.search(r"-m ?0?700|chmod 0?700", command) is not None)


def _aws_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Check the rights, open ports, disks and addresses of nodes on AWS. What a launch template gives is not here."""
    provider = config["provider"]
    if not provider.get("use_internal_ips"):
        yield "provider: use_internal_ips is not true; nodes would need public addresses"
    if provider.get("cache_stopped_nodes", True):
        yield "provider: cache_stopped_nodes is not false; you would pay for the disks of stopped nodes"
    for rule in provider.get("security_group", {}).get("IpPermissions", []):
        if any(ip_range.get("CidrIp") == "0.0.0.0/0" for ip_range in rule.get("IpRanges", [])):
            yield f"provider: security_group opens port {rule.get('FromPort', _SSH_PORT)} to the world"
    for name, section in config["available_node_types"].items():
        node_config = section["node_config"]
        for field, consequence in (
            ("ImageId", "Ray would use an image of 2018"),
            ("SecurityGroupIds", "Ray would make a group that accepts SSH from everywhere"),
            ("IamInstanceProfile", "Ray would give the head all of EC2 and S3, and the workers nothing"),
        ):
            if not node_config.get(field) and not node_config.get("LaunchTemplate"):
                yield f"{name}: {field} is missing; {consequence}"
        if node_config.get("MetadataOptions", {}).get("HttpTokens") != "required":
            yield f"{name}: MetadataOptions needs HttpTokens: required; any request could fetch credentials"
        if node_config.get("MetadataOptions", {}).get("HttpPutResponseHopLimit") != 1:
            yield f"{name}: MetadataOptions needs HttpPutResponseHopLimit: 1; containers could fetch credentials"
        disks = node_config.get("BlockDeviceMappings", [])
        if not disks or not all(disk.get("Ebs", {}).get("Encrypted") for disk in disks):
            yield f"{name}: BlockDeviceMappings needs Encrypted: true"


def _texts(value: object) -> Iterator[str]:
    """Yield every text in nested data, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
