"""Checks of what a cluster's machines install: nothing that its author, or its host, can exchange later.

A node runs what it installs with all its rights. A version or a tag can be given to another content. A hash cannot:
downloads need a checksum, packages the hashes of a requirements file, and container images a digest.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.engine.preflight.check_result import CheckResult, passed, warned
from raysearch.engine.preflight.ray_yaml import open_placeholders

_COMMANDS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
_IMAGES = ("image", "head_image", "worker_image")
_DOWNLOAD = re.compile(r"\b(?:curl|wget)\b.*https?://", re.DOTALL)
_CHECKSUM = re.compile(
    r"\b(?:sha(?:256|384|512)sum|shasum)\b[^;&|\n]*\s(?:-\w*c\b|--check\b)|\bgpgv?\b[^;&|\n]*\s--verify\b"
)
# What is read by a shell runs before anything can be compared.
_PIPED = re.compile(
    r"\b(?:curl|wget)\b[^;&\n]*\|\s*(?:sudo\s+)?(?:env\s+)?(?:\w+=\S*\s+)*(?:\S*/)?(?:(?:ba|z|da|k)?sh|python[\d.]*)\b"
    r"|\b(?:ba|z|da|k)?sh\b[^;&|\n]*(?:<\(|\$\(|`)\s*(?:curl|wget)\b"
)
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*", re.MULTILINE)
_INSTALL = re.compile(
    r"\b(?:pip[\d.]*|pipx|uv\s+tool)\s+(?:-\S+\s+)*install\b|\buv\s+(?:add|pip\s+sync|tool\s+run)\b|\buvx\s+\S"
    r"|\bpipx\s+run\b|\beasy_install\b|\b(?:conda|mamba|micromamba)\s+(?:env\s+)?(?:install|create|update)\b"
    r"|\bnpm\s+(?:i|install)\b"
)
_UNSIGNED = re.compile(r"--allow-unauthenticated|--force-yes|\btrusted=yes|AllowInsecureRepositories=(?:1|true|yes)")
_CLONE = re.compile(r"\bgit\s+(?:-\S+\s+)*clone\b")
_COMMIT = re.compile(r"\bgit\s[^;&|\n]*\b(?:checkout|reset|switch)\b[^;&|\n]*\b[0-9a-f]{40}\b")
_CONTAINER = re.compile(r"\b(?:docker|podman)\s+(?:pull|run|create)\b")
_HASHES = re.compile(r"--require-hashes\b|\bPIP_REQUIRE_HASHES=[1ty]|--no-index\b")
_REQUIREMENTS = re.compile(r"(?:-r|--requirement)[ =]['\"]?([^\s;&|'\"]+)")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_ANY_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}\b")
_PINNED = re.compile(r"^\s*([A-Za-z][\w.-]*)(?:\[[^\]]*\])?==([0-9][\w.]*)", re.MULTILINE)


def check_commands(config: Mapping[str, Any]) -> Iterator[CheckResult]:
    """Check the commands of a file for `ray up` that install something, and its container images.

    Args:
        config: content of the file.
    """
    results = [
        warned("installs", f"{field}: {problem}")
        for field, command in _setup_commands(config)
        for problem in _install_problems(command)
    ]
    yield from results or [passed("installs", "downloads and packages are compared with hashes")]
    sections = {"docker": config.get("docker")}
    for name, node_type in (config.get("available_node_types") or {}).items():
        sections[f"{name}: docker"] = node_type.get("docker")
    images = {
        f"{where}: {field}": section[field]
        for where, section in sections.items()
        for field in _IMAGES
        if section and section.get(field)
    }
    if images:
        yield from check_images(images)


def check_images(images: Mapping[str, str]) -> Iterator[CheckResult]:
    """Check that container images are named by their digests. One line per image that is not.

    A placeholder that is not filled in is left to the check of the file.

    Args:
        images: names of images by where they are used.
    """
    named = {where: image for where, image in images.items() if not open_placeholders(image)}
    tagged: dict[str, list[str]] = {}
    for where, image in named.items():
        if not _DIGEST.search(image):
            tagged.setdefault(image, []).append(where)
    for image, uses in tagged.items():
        hint = "docker buildx imagetools inspect IMAGE prints the digest"
        yield warned("images", f"{', '.join(uses)}: '{image}' can be exchanged later; use NAME@sha256:DIGEST ({hint})")
    if named and not tagged:
        yield passed("images", "named by their digests")


def pinned_versions(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of packages in the requirements files that a file for `ray up` installs.

    The files are those of this machine that `file_mounts` sends to the nodes.

    Args:
        config: content of the file.

    Raises:
        UserError: a requirements file is not on this machine.
    """
    mounts = {str(remote).rstrip("/"): str(local) for remote, local in (config.get("file_mounts") or {}).items()}
    versions: dict[str, str] = {}
    for field, command in _setup_commands(config):
        for remote in _REQUIREMENTS.findall(command):
            folder = next((parent for parent in (remote, *map(str, Path(remote).parents)) if parent in mounts), None)
            if folder is None:
                continue
            path = Path(mounts[folder]).expanduser() / Path(remote).relative_to(folder)
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"{field}: cannot read {path} ({error}); run this in the checkout") from None
            versions.update(_PINNED.findall(text))
    return versions


def _setup_commands(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field in _COMMANDS:
        for command in config.get(field) or []:
            yield field, str(command)


def _install_problems(command: str) -> Iterator[str]:
    """Return a line per download without a checksum, per package without hashes, and so on.

    >>> list(_install_problems("pip install --require-hashes -r requirements.txt"))
    []
    >>> list(_install_problems("pip install torch"))
    ['packages without hashes: pip install torch; use --require-hashes, as clusters/on_prem.yaml does']
    """
    command = _COMMENT.sub("", command)
    if _PIPED.search(command) or (_DOWNLOAD.search(command) and not _CHECKSUM.search(command)):
        yield f"a download without a checksum: {_shortened(command)}; compare it by sha256sum --check before it runs"
    if _CLONE.search(command) and not _COMMIT.search(command):
        yield f"a repository without a commit: {_shortened(command)}; git checkout the 40 digits of one"
    for part in re.split(r"&&|\|\||[;|&\n]", command):
        if _UNSIGNED.search(part):
            yield f"packages without signatures: {_shortened(part.strip())}; add the key of their archive"
        if _CONTAINER.search(part) and not _ANY_DIGEST.search(part):
            yield f"an image without a digest: {_shortened(part.strip())}; use NAME@sha256:DIGEST"
        if _INSTALL.search(part) and not _HASHES.search(part):
            line = _shortened(part.strip(" {}()"))
            yield f"packages without hashes: {line}; use --require-hashes, as clusters/on_prem.yaml does"


def _shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
