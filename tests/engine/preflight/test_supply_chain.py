"""What a cluster installs is fixed by its hash; each other way to install is found."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from raysearch.core import UserError
from raysearch.engine.preflight import CheckResult, checks, ray_yaml, supply_chain

ROOT = Path(__file__).parents[3]
LOCKED = ROOT / "clusters" / "requirements.txt"


def warnings(results: Iterable[CheckResult]) -> list[str]:
    return [result.message for result in results if result.status.value == "WARN"]


def locked() -> list[tuple[Requirement, list[str]]]:
    """Return each requirement of the file with its hashes, by a second reading."""
    joined = LOCKED.read_text().replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(Requirement(line.split("--hash")[0]), re.findall("--hash=sha256:([0-9a-f]{64})", line)) for line in lines]


@pytest.mark.parametrize("name", ["aws.yaml", "on_prem.yaml"])
def test_the_shipped_files_install_by_hash(name: str) -> None:
    config = yaml.safe_load((ROOT / "clusters" / name).read_text())
    (result,) = supply_chain.check_commands(config)
    assert (result.status.value, result.check) == ("PASS", "installs")
    assert "astral.sh" not in str(config)


@pytest.mark.parametrize(
    "command",
    [
        "curl -LsSf https://astral.sh/uv/0.13.9/install.sh | sh",
        "test -x ~/.local/bin/uv || curl -LsSf https://a.example/install.sh | UV_NO_MODIFY_PATH=1 sh",
        "wget -qO- https://a.example/install.sh | sudo bash -s -- --yes",
        "bash <(curl -s https://a.example/x)",
        'sh -c "$(curl -fsSL http://a.example/x)"',
        "curl -o x.sh https://a.example/x.sh && bash x.sh",
        "cd /tmp; wget https://a.example/x.tar.gz; tar xf x.tar.gz",
        "pip install torch==2.15.0",
        "~/venv/bin/pip install --quiet ray==2.60.0 torch==2.15.0 --editable ~/raysearch",
        "~/.local/bin/uv pip install --exclude-newer 2026-11-21 'ray==2.60.0'",
        "python3 -m pip --quiet install -r requirements.txt",
        "pip3.11 install git+https://a.example/x.git",
        "uv tool install ruff",
        "pipx install uv",
        "pip install --require-hashes -r a.txt && pip install b",
        "sudo pip install --no-index x; pip install y",
        "curl -s https://a.example/x | sh # compared by sha256sum --check",
        "curl -s https://a.example/x | sudo env A=1 /bin/bash; echo 'ab  y' | sha256sum --check",
        "curl -o x https://a.example/x && sha256sum x && sh x",
        "wget -qO- https://a.example/x | python3 - && sha256sum -c all.sums",
        'eval "$(true)"; bash -c "$(curl -s https://a.example/x)" && gpg --verify y.asc',
        "uvx ruff",
        "uv add torch",
        "uv pip sync requirements.txt",
        "pipx run ruff",
        "conda install --yes pytorch",
        "micromamba create -n x torch",
        "npm install -g x",
        "git clone https://a.example/x.git && pip install --no-index ./x",
        "git clone -b v1.0 https://a.example/x.git",
        "sudo apt-get install --yes --allow-unauthenticated x",
        "docker run --rm x/y:latest true",
        "docker pull rayproject/ray",
    ],
)
@pytest.mark.parametrize("field", ["initialization_commands", "worker_setup_commands"])
def test_each_installation_that_could_be_exchanged_is_found(field: str, command: str) -> None:
    (message,) = warnings(supply_chain.check_commands({field: ["true", command]}))
    assert message.startswith(f"{field}: ")


@pytest.mark.parametrize(
    "command",
    [
        "curl -o x https://a.example/x && echo 'ab12  x' | sha256sum --check && sh x",
        "PIP_REQUIRE_HASHES=1 pip install -r requirements.txt",
        "pip install --no-index --no-deps --editable ~/raysearch",
        "curl -s localhost:8265/api/version",
        "sudo apt-get install --yes python3-venv",
        "git clone https://a.example/x.git && git -C x checkout 0123456789abcdef0123456789abcdef01234567",
        f"docker run --rm x/y@sha256:{'a' * 64} true",
        "curl -o x https://a.example/x && [ 1 ] && sha256sum -c x.sum && sh x",
        "curl -o k https://a.example/k && gpg --verify k.asc k && sh k",
        "# pip install torch",
        "chmod 600 ~/.ray/auth_token",
    ],
)
def test_other_commands_are_left_alone(command: str) -> None:
    assert warnings(supply_chain.check_commands({"setup_commands": [command]})) == []


def test_images_of_a_ray_file_need_a_digest() -> None:
    digest = f"rayproject/ray@sha256:{'a' * 64}"
    config: dict[str, Any] = {
        "docker": {"image": "rayproject/ray:2.60.0", "head_image": digest},
        "available_node_types": {"gpu": {"docker": {"worker_image": "x/y:latest"}}, "head": {}},
    }
    assert [line.partition(" '")[0] for line in warnings(supply_chain.check_commands(config))] == [
        "docker: image:",
        "gpu: docker: worker_image:",
    ]
    config["docker"]["image"] = digest
    del config["available_node_types"]
    assert [result.status.value for result in supply_chain.check_commands(config)] == ["PASS", "PASS"]


def test_every_package_of_the_project_is_locked() -> None:
    entries = locked()
    assert len(entries) > 50
    assert all(hashes for _, hashes in entries)
    assert all([specifier.operator for specifier in entry.specifier] == ["=="] for entry, _ in entries)
    versions = {canonicalize_name(entry.name): str(entry.specifier)[2:] for entry, _ in entries}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["aws"]]
    for requirement in map(Requirement, [*needed, *project["build-system"]["requires"], "editables"]):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), (
            f"{requirement}: {version} is locked; see the file's first lines"
        )
    assert versions["ray"] == importlib.metadata.version("ray")


def test_the_check_reads_versions_from_the_locked_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "all.txt").write_text("# ray==1.0\nray[default]==2.40.0 \\\n    --hash=sha256:00\nother==1\n")
    config = {
        "file_mounts": {"~/project/locks/": "locks"},
        "setup_commands": ["pip install --require-hashes -r '~/project/locks/all.txt'; true", "x -r /etc/none.txt"],
    }
    monkeypatch.chdir(tmp_path)
    assert supply_chain.pinned_versions(config) == {"ray": "2.40.0", "other": "1"}
    (result,) = checks.check_versions(config)
    assert (result.status.value, "ray 2.40.0 on the nodes" in result.message) == ("FAIL", True)
    (tmp_path / "locks" / "all.txt").unlink()
    with pytest.raises(UserError, match=r"cannot read locks/all\.txt .* run this in the checkout"):
        list(checks.check_versions(config))


def test_pip_refuses_a_package_with_another_hash(tmp_path: Path) -> None:
    """What the hashes are for. The package is made here, so nothing is downloaded."""
    name = "tiny_package-1.0-py3-none-any.whl"
    build = (
        "import sys, zipfile\n"
        "with zipfile.ZipFile(sys.argv[1], 'w') as wheel:\n"
        "    for path, text in {'tiny_package.py': sys.argv[2],"
        " 'tiny_package-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\\nName: tiny-package\\nVersion: 1.0\\n',"
        " 'tiny_package-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n',"
        " 'tiny_package-1.0.dist-info/RECORD': ''}.items():\n"
        "        wheel.writestr(path, text)\n"
    )

    def _install(content: str) -> subprocess.CompletedProcess[str]:
        subprocess.run([sys.executable, "-c", build, str(tmp_path / name), content], check=True)
        words = ["--isolated", "install", "--dry-run", "--no-index", "--find-links", str(tmp_path), "--require-hashes"]
        lock = str(tmp_path / "lock.txt")
        return subprocess.run(
            [sys.executable, "-m", "pip", *words, "--target", str(tmp_path / "t"), "-r", lock],
            capture_output=True,
            text=True,
        )

    subprocess.run([sys.executable, "-c", build, str(tmp_path / name), "good = 1"], check=True)
    hashed = subprocess.run(["sha256sum", tmp_path / name], capture_output=True, text=True).stdout.split()[0]
    (tmp_path / "lock.txt").write_text(f"tiny-package==1.0 --hash=sha256:{hashed}\n")
    refused = _install("import os; os.system('id')")
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    (tmp_path / "lock.txt").write_text("tiny-package==1.0\n")
    assert "Hashes are required" in _install("good = 1").stderr


@pytest.mark.parametrize(
    "start",
    [
        "RAY_AUTH_MODE=token ray start --head --port=6379",
        "ray start --head --temp-dir=/tmp/ray",
        "mkdir -p -m 700 /tmp/mine && ray start --head --temp-dir=/tmp/mine/ray",
        "test -O /tmp/mine && ray start --head --temp-dir /tmp/mine/ray",
        "RAY_TMPDIR=/tmp/mine ray start --head",
        "ray start --head --temp-dir=/dev/shm/$USER",
    ],
)
def test_a_folder_of_ray_that_others_may_write_to_is_found(start: str) -> None:
    config = {"provider": {"type": "local"}, "worker_start_ray_commands": ["ray stop", start]}
    (message,) = warnings(ray_yaml.check_folders(config))
    assert message.startswith("worker_start_ray_commands: other users of a machine")
    assert list(ray_yaml.check_folders({**config, "provider": {"type": "aws"}})) == []


def test_a_closed_folder_of_ray_passes() -> None:
    shipped = yaml.safe_load((ROOT / "clusters" / "on_prem.yaml").read_text())
    assert [result.status.value for result in ray_yaml.check_folders(shipped)] == ["PASS"]
    at_home = {"provider": {"type": "local"}, "head_start_ray_commands": ["ray start --head --temp-dir ~/ray"]}
    assert warnings(ray_yaml.check_folders(at_home)) == []
