"""Thirty cells and ten kills at random moments: every cell ends once, with the numbers that it would have had."""

import json
import random
import time
from pathlib import Path

import psutil
import pytest

from .. import killing, sweeps
from ..killing import MAILBOX, TRIAL, WORKER, Nodes

VARIANTS = 10
SEEDS = 3
CELLS = VARIANTS * SEEDS
KILLS = ("worker",) * 3 + ("trial actor",) * 2 + ("mailbox",) * 2 + ("node",) + ("driver",) * 2
SECONDS = 1500.0  # until all is given up
OUT = "out"


class Killer:
    """A driver, a cluster, and the faults that they suffer."""

    def __init__(self, folder: Path, drivers: sweeps.Sweeps, nodes: Nodes, rng: random.Random) -> None:
        self._folder = folder
        self._drivers = drivers
        self._nodes = nodes
        self._rng = rng
        self.process = drivers.start(OUT)
        self.seen: dict[str, int] = {}

    def rage(self) -> None:
        """Kill one after the other, at random moments of the whole run."""
        started = time.monotonic()
        for number, kind in enumerate(self._rng.sample(KILLS, len(KILLS))):
            while len(self.seen) < number * CELLS // (len(KILLS) + 1):
                assert self.process.poll() is None, self.process.communicate()[0]
                assert time.monotonic() - started < SECONDS, f"{len(self.seen)} cells, {number} kills in all the time"
                time.sleep(0.05)
                self.look()
            time.sleep(self._rng.uniform(0, 3))
            print(f"{time.monotonic() - started:.0f} s, {len(self.seen)} cells: {kind}")
            self.strike(kind)

    def look(self) -> None:
        """See which cells have ended, and that none ends twice."""
        now = sweeps.ended(self._folder, OUT)
        assert {cell: now.get(cell) for cell in self.seen} == self.seen, "a cell that had ended was written again"
        self.seen = now

    def strike(self, kind: str) -> None:
        """Kill one of a kind."""
        if kind == "driver":
            sweeps.kill(self.process)
            self.process = self._drivers.start(OUT)
            return
        target = self._target({"worker": WORKER, "trial actor": TRIAL, "mailbox": MAILBOX, "node": WORKER}[kind])
        if kind == "node":
            self._nodes.kill(target)
            time.sleep(self._rng.uniform(0, 5))
            self._nodes.repair()
        else:
            killing.kill(target)

    def _target(self, kind: str) -> int:
        deadline = time.monotonic() + 180
        while True:
            processes = [process for process in killing.actors(kind) if psutil.pid_exists(process)]
            if processes:
                return self._rng.choice(processes)
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, f"no {kind} to kill"
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_thirty_cells_and_ten_kills(nodes: Nodes, tmp_path: Path, tiny_data: Path, seed: int) -> None:
    sweeps.prepare(tmp_path, tiny_data, iterations=6, variants=VARIANTS, seeds=SEEDS)
    with sweeps.Sweeps(tmp_path, nodes.cluster.address) as drivers:
        started = time.monotonic()
        killer = Killer(tmp_path, drivers, nodes, random.Random(seed))
        killer.rage()
        sweeps.finish(killer.process, SECONDS)
        killer.look()
    print(f"{time.monotonic() - started:.0f} s in all, {killing.nothing_stays():.1f} s until the cluster was clean")

    rows = sweeps.rows(tmp_path, OUT)
    attempts = [row["attempts"] for row in rows]
    print(f"attempts: {attempts}")
    assert len(killer.seen) == len(rows) == CELLS
    assert {row["status"] for row in rows} == {"finished"}
    assert sum(attempts) > CELLS
    for row in rows:
        metrics, steps = sweeps.undisturbed(tmp_path / "data", row)
        assert {name: row[name] for name in metrics} == metrics
        assert sweeps.numbers(json.loads(row["history"])) == sweeps.numbers(steps)
