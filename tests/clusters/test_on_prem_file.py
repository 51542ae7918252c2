"""clusters/on_prem.yaml agrees with its page, and passes the checks of Ray and of `raysearch.cluster check`."""

import re
from pathlib import Path

import pytest
import ray
import yaml

from raysearch.engine.preflight import ray_yaml, supply_chain

ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "clusters" / "on_prem.yaml").read_text()
PAGE = (ROOT / "docs" / "clusters" / "on_prem.md").read_text()
VALUES = {"Head": "192.168.1.10", "Workers": "192.168.1.11, 192.168.1.12", "User": "ray"}


def home(folder: Path) -> Path:
    token = folder / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)
    token.chmod(0o600)
    return folder


def test_the_file_is_ready_once_its_places_are_filled(tmp_path: Path) -> None:
    owner = home(tmp_path)
    assert ray_yaml.open_placeholders(yaml.safe_load(SHIPPED)) == sorted(VALUES)
    filled = yaml.safe_load(ray_yaml.fill_placeholders(SHIPPED, VALUES))
    assert ray_yaml.find_problems(filled, owner) == []
    assert filled["provider"]["worker_ips"] == ["192.168.1.11", "192.168.1.12"]


def test_it_starts_the_software_of_the_other_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same versions and paths as on AWS: what a study gives must not hang on where it ran."""
    monkeypatch.chdir(ROOT)  # `ray up` and the check run in the checkout
    own, aws = yaml.safe_load(SHIPPED), yaml.safe_load((ROOT / "clusters" / "aws.yaml").read_text())
    pins = [supply_chain.pinned_versions(config) for config in (own, aws)]
    assert pins[0].items() <= pins[1].items()
    assert set(pins[1]) - set(pins[0]) == {"uv"}
    assert pins[0]["ray"] == ray.__version__
    assert set(aws["file_mounts"].items()) <= set(own["file_mounts"].items())


def test_the_firewall_names_the_same_places() -> None:
    text = (ROOT / "clusters" / "firewall.nft").read_text()
    assert set(re.findall(r"<(\w+)>", text)) == {"Head", "Workers"}
    assert "define cluster = { 192.168.1.10, 192.168.1.11, 192.168.1.12 }" in ray_yaml.fill_placeholders(text, VALUES)


def test_the_page_names_the_ports_of_the_file() -> None:
    for port in re.findall(r"--(?:metrics-export-|dashboard-)?port=(\d+)", SHIPPED):
        assert re.search(rf"^\| .*\b{port}\b", PAGE, re.MULTILINE), f"port {port} is not in the page's table"
