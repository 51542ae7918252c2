"""clusters/on_prem.yaml for real: `ray up` over SSH, who gets in, a study while a machine is cut off, `ray down`.

The tests stand in their order on one cluster. They take minutes on a quiet machine.
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
from . import hosts
from .desk import PATIENCE, Desk, desk, wait
from .knocking import doors, table

_MISSING, _FIREWALL = hosts.missing(), shutil.which("nft", path="/usr/sbin:/sbin") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_MISSING is not None, reason=f"no hosts on this machine: it {_MISSING}"),
]

# What answers whoever asks; docs/clusters/on_prem.md says so. All else wants the token.
OPEN = {
    8080: "metrics of a machine",
    44217: "metrics of the autoscaler",
    44227: "metrics of the dashboard",
}
STUDY = "study.py"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk(tmp_path_factory.mktemp("desk")) as made:
        wait(lambda: made.type("ray up").status == 0, "the head", seconds=2 * PATIENCE)  # a busy machine is too slow
        wait(lambda: made.alive() == {one.address for one in made.machines}, "all machines", seconds=2 * PATIENCE)
        yield made


def test_the_token_is_on_every_machine_and_readable_by_its_owner_alone(cluster: Desk) -> None:
    tokens = [host.home / ".ray" / "auth_token" for host in [cluster.laptop, *cluster.machines]]
    assert {stat.S_IMODE(token.stat().st_mode) for token in tokens} == {0o600}
    assert {stat.S_IMODE(token.parent.stat().st_mode) for token in tokens} == {0o700}
    assert len({token.read_text() for token in tokens}) == 1
    key = cluster.head.home / "ray_bootstrap_key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_nobody_gets_in(cluster: Desk) -> None:
    """Every port of head and worker, from a host beside, without a token and with a wrong one."""
    found = doors(cluster.stranger, [cluster.head, cluster.workers[0]], ["", "0" * 64])
    print(table(found))
    kinds = {door.program for door in found}
    assert {"gcs_server", "raylet"} <= kinds, "the cluster's own ports are among them"
    for door in found:
        for said in door.said:
            assert said.startswith(("closed", "refuses")) or door.port in OPEN, f"{door} {said}"
    (job_port,) = [door for door in found if door.port == 8265]
    assert all(said.startswith("closed") for said in job_port.said)


def test_the_right_token_opens_the_same_doors(cluster: Desk) -> None:
    """Else the knocking would prove nothing."""
    token = (cluster.laptop.home / ".ray" / "auth_token").read_text()
    found = doors(cluster.stranger, [cluster.head, cluster.workers[0]], [token])
    print(table(found))
    opened = {door.program for door in found if any("ray.rpc" in said for said in door.said)}
    assert {"gcs_server", "raylet"} <= opened


def test_rays_own_clients_are_refused(cluster: Desk) -> None:
    """Who joins as a node, or as a driver, could run what he likes."""
    address = f"{cluster.head.address}:6379"
    wrong = cluster.stranger.home / ".ray" / "auth_token"
    wrong.parent.mkdir()
    wrong.write_text("0" * 64)
    for mode in ("disabled", "token"):
        settings = {"RAY_AUTH_MODE": mode}
        for command in (f"ray status --address {address}", f"ray start --address {address} --num-cpus 1"):
            done = cluster.stranger.run(f"timeout 120 {command}", settings, seconds=PATIENCE)
            why = [line for line in done.output.splitlines() if "oken" in line]
            print(mode, command, done.status, why[-1:])
            assert done.status not in (0, 124)
            assert "InvalidAuthToken" in done.output
            cluster.stranger.run("ray stop --force", settings, seconds=PATIENCE)
    assert cluster.alive() == {one.address for one in cluster.machines}


@pytest.mark.skipif(not _FIREWALL, reason="no nft on this machine")
def test_the_firewall_closes_all_but_ssh_and_leaves_the_cluster_alone(cluster: Desk) -> None:
    """It stays up for the tests that follow."""
    for machine in cluster.machines:
        done = machine.run("nft -f ~/raysearch/clusters/firewall.nft")
        assert done.status == 0, done.output
    found = doors(cluster.stranger, [cluster.head, cluster.workers[0]], [""])
    print(table(found))
    assert {said for door in found for said in door.said} <= {"closed: timed out", "closed: Connection refused"}
    assert cluster.alive() == {one.address for one in cluster.machines}


def test_a_machine_that_is_cut_off_costs_a_study_nothing(cluster: Desk, tiny_data: Path) -> None:
    """Two workers a trial, one on each machine. The data lies on the head alone, the checkpoints where all see them."""
    for home in (cluster.head.home, cluster.stranger.home):
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
        between = doors(cluster.stranger, [cluster.workers[0]], [""])
        print(table(between))
        assert any("RayTrain" in door.program for door in between), "torch's own connections, which know no token"
        if _FIREWALL:
            assert all(said.startswith("closed") for door in between for said in door.said)
        lost = cluster.workers[1]
        with cluster.lan.cut_off(lost):
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
    alone = _sweep(cluster.stranger.home, cluster.stranger.home / "checkpoints")
    wait(lambda: cluster.stranger.run(alone, settings, seconds=PATIENCE).status == 0, "the same study alone")
    undisturbed = results.load(cluster.stranger.home / "runs" / "study").to_pylist()
    assert {row["cell"] for row in undisturbed} == set(rows)
    for row in undisturbed:
        disturbed = rows[row["cell"]]
        assert (row["map"], row["attempts"]) == (disturbed["map"], 1)
        assert _numbers(row) == _numbers(disturbed)


def test_the_report_comes_home_and_the_cluster_goes_down(cluster: Desk) -> None:
    down = cluster.type("ray rsync-down")
    assert down.status == 0, down.output
    assert (cluster.laptop.home / "raysearch" / "runs" / "study" / "report.html").stat().st_size
    down = cluster.type("ray down")
    assert down.status == 0, down.output
    for machine in cluster.machines:
        wait(lambda machine=machine: not machine.listening(), f"the end of Ray on {machine.name}")


def _sweep(home: Path, storage: Path) -> str:
    command = f"python -m raysearch.sweep {home}/{STUDY} --data {home}/data --profile laptop --workers 2"
    return f"{command} --out {home}/runs/study --storage {storage}"


def _numbers(row: dict[str, str]) -> list[dict[str, float]]:
    return sweeps.numbers(json.loads(row["history"]))
