"""clusters/on_prem.yaml for real: `ray up` over SSH, access from outside, a machine that is cut off, `ray down`.

The tests run in their order on one cluster. They take minutes on a quiet machine.
"""

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysearch.runs import results
from raysearch.runs.checkpoints import NEWEST

from ..engine import sweeps
from . import network_hosts
from .hosts_fixture import PATIENCE, OnPremCluster, on_prem_cluster, wait
from .port_probe import format_table, scan_ports

_MISSING = network_hosts.missing_requirement()
_FIREWALL = shutil.which("nft", path="/usr/sbin:/sbin") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_MISSING is not None, reason=f"this machine {_MISSING}"),
]

# Ports that answer without a token, as docs/clusters/on_prem.md states.
OPEN = {
    8080: "metrics of a machine",
    44217: "metrics of the autoscaler",
    44227: "metrics of the dashboard",
}
STUDY = "study.py"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnPremCluster]:
    with on_prem_cluster(tmp_path_factory.mktemp("hosts")) as cluster:
        wait(
            lambda: cluster.run_documented("ray up").status == 0, "the head", seconds=2 * PATIENCE
        )  # a busy machine is too slow
        wait(
            lambda: cluster.alive() == {machine.address for machine in cluster.machines},
            "all machines",
            seconds=2 * PATIENCE,
        )
        yield cluster


def test_the_token_is_on_every_machine_and_readable_by_its_owner_alone(cluster: OnPremCluster) -> None:
    tokens = [host.home / ".ray" / "auth_token" for host in [cluster.laptop, *cluster.machines]]
    assert {stat.S_IMODE(token.stat().st_mode) for token in tokens} == {0o600}
    assert {stat.S_IMODE(token.parent.stat().st_mode) for token in tokens} == {0o700}
    assert len({token.read_text() for token in tokens}) == 1
    key = cluster.head.home / "ray_bootstrap_key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_nobody_gets_in(cluster: OnPremCluster) -> None:
    """Every port of head and worker, from a host beside, without a token and with a wrong one."""
    ports = scan_ports(cluster.outsider, [cluster.head, cluster.workers[0]], ["", "0" * 64])
    print(format_table(ports))
    kinds = {port.program for port in ports}
    assert {"gcs_server", "raylet"} <= kinds, "the cluster's own ports are among them"
    for port in ports:
        for answer in port.answers:
            assert answer.startswith(("closed", "refuses")) or port.port in OPEN, f"{port} {answer}"
    (job_port,) = [port for port in ports if port.port == 8265]
    assert all(answer.startswith("closed") for answer in job_port.answers)


def test_the_right_token_opens_the_same_ports(cluster: OnPremCluster) -> None:
    """Otherwise the scan would prove nothing."""
    token = (cluster.laptop.home / ".ray" / "auth_token").read_text()
    ports = scan_ports(cluster.outsider, [cluster.head, cluster.workers[0]], [token])
    print(format_table(ports))
    opened = {port.program for port in ports if any("ray.rpc" in answer for answer in port.answers)}
    assert {"gcs_server", "raylet"} <= opened


def test_rays_own_clients_are_refused(cluster: OnPremCluster) -> None:
    """A process that joins as a node or a driver can run any code."""
    address = f"{cluster.head.address}:6379"
    wrong = cluster.outsider.home / ".ray" / "auth_token"
    wrong.parent.mkdir()
    wrong.write_text("0" * 64)
    for mode in ("disabled", "token"):
        settings = {"RAY_AUTH_MODE": mode}
        for command in (f"ray status --address {address}", f"ray start --address {address} --num-cpus 1"):
            done = cluster.outsider.run(f"timeout 120 {command}", settings, seconds=PATIENCE)
            why = [line for line in done.output.splitlines() if "oken" in line]
            print(mode, command, done.status, why[-1:])
            assert done.status not in (0, 124)
            assert "InvalidAuthToken" in done.output
            cluster.outsider.run("ray stop --force", settings, seconds=PATIENCE)
    assert cluster.alive() == {machine.address for machine in cluster.machines}


@pytest.mark.skipif(not _FIREWALL, reason="no nft on this machine")
def test_the_firewall_closes_all_but_ssh_and_leaves_the_cluster_alone(cluster: OnPremCluster) -> None:
    """It stays up for the tests that follow."""
    for machine in cluster.machines:
        done = machine.run("nft -f ~/raysearch/clusters/firewall.nft")
        assert done.status == 0, done.output
    ports = scan_ports(cluster.outsider, [cluster.head, cluster.workers[0]], [""])
    print(format_table(ports))
    assert {answer for port in ports for answer in port.answers} <= {"closed: timed out", "closed: Connection refused"}
    assert cluster.alive() == {machine.address for machine in cluster.machines}


def test_a_machine_that_is_cut_off_costs_a_study_nothing(cluster: OnPremCluster, tiny_data: Path) -> None:
    """Two workers a trial, one on each machine. The data lies on the head alone, the checkpoints where all see them."""
    for home in (cluster.head.home, cluster.outsider.home):
        sweeps.prepare(home, tiny_data, iterations=30, variants=2, seeds=1)
        (home / "data").unlink()
        (home / "data").mkdir()
        for file in tiny_data.iterdir():
            (home / "data" / file.name).write_bytes(file.read_bytes())
    storage = cluster.shared / "checkpoints"
    sweep = _sweep(cluster.head.home, storage)
    with cluster.tunnel() as address:
        job = cluster.laptop.start(f"export RAY_AUTH_MODE=token; ray job submit --address {address} -- {sweep}")
        wait(lambda: any(storage.glob(f"*/{NEWEST}")), "a first checkpoint")
        between = scan_ports(cluster.outsider, [cluster.workers[0]], [""])
        print(format_table(between))
        assert any("RayTrain" in port.program for port in between), "torch's own connections, which know no token"
        if _FIREWALL:
            assert all(answer.startswith("closed") for port in between for answer in port.answers)
        lost = cluster.workers[1]
        with cluster.network.cut_off(lost):
            wait(lambda: cluster.alive() == {cluster.head.address, cluster.workers[0].address}, "its loss")
        wait(lambda: lost.address in cluster.alive(), "its return")
        output, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, output
    rows = {row["cell"]: row for row in results.load(cluster.head.home / "runs" / "study").to_pylist()}
    print({row["variant"]: (row["status"], row["attempts"]) for row in rows.values()})
    assert [row["status"] for row in rows.values()] == ["finished"] * 2
    assert max(row["attempts"] for row in rows.values()) >= 2
    # A busy machine may be too slow for Ray; what has ended is not run again.
    settings = {"RAY_AUTH_MODE": "token"}
    alone = _sweep(cluster.outsider.home, cluster.outsider.home / "checkpoints")
    wait(lambda: cluster.outsider.run(alone, settings, seconds=PATIENCE).status == 0, "the same study alone")
    undisturbed = results.load(cluster.outsider.home / "runs" / "study").to_pylist()
    assert {row["cell"] for row in undisturbed} == set(rows)
    for row in undisturbed:
        disturbed = rows[row["cell"]]
        assert (row["map"], row["attempts"]) == (disturbed["map"], 1)
        assert _numbers(row) == _numbers(disturbed)


def test_the_report_comes_home_and_the_cluster_goes_down(cluster: OnPremCluster) -> None:
    down = cluster.run_documented("ray rsync-down")
    assert down.status == 0, down.output
    assert (cluster.laptop.home / "raysearch" / "runs" / "study" / "report.html").stat().st_size
    down = cluster.run_documented("ray down")
    assert down.status == 0, down.output
    for machine in cluster.machines:
        wait(lambda machine=machine: not machine.listening(), f"the end of Ray on {machine.name}")


def _sweep(home: Path, storage: Path) -> str:
    command = f"python -m raysearch.sweep {home}/{STUDY} --data {home}/data --profile laptop --workers 2"
    return f"{command} --out {home}/runs/study --storage {storage}"


def _numbers(row: dict[str, str]) -> list[dict[str, float]]:
    return sweeps.numbers(json.loads(row["history"]))
