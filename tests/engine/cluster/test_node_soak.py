"""Two hundred cells while nodes come and go: every cell ends once, with its own numbers, and the head does not grow."""

import contextlib
import json
import random
import statistics
import time
from pathlib import Path

import psutil
import pytest

from .. import killing, sweeps
from ..killing import NODE_CPUS, Nodes

VARIANTS, SEEDS = 40, 5
CELLS = VARIANTS * SEEDS
PAUSE = 20.0  # seconds between two changes
FEWEST, MOST = 1, 3  # nodes beside the head
SECONDS = 3600.0  # until all is given up
OUT = "out"
GROWTH = 1.10  # of the head's memory, from the second quarter of the run to the last


class Weather:
    """Nodes that come and go at random."""

    def __init__(self, nodes: Nodes, rng: random.Random) -> None:
        self._nodes, self._rng = nodes, rng
        self.killed = self.added = 0

    def change(self) -> None:
        """Kill a node, whole and at once, or add one."""
        there = list(self._nodes.cluster.worker_nodes)
        if len(there) > FEWEST and (len(there) == MOST or self._rng.random() < 0.5):
            (raylet,) = self._rng.choice(sorted(there, key=lambda one: one.node_id)).all_processes["raylet"]
            self._nodes.kill(raylet.process.pid)
            self.killed += 1
        else:
            with contextlib.suppress(Exception):  # Ray gives a node 30 s to start, which a busy machine may not have
                self._nodes.cluster.add_node(num_cpus=NODE_CPUS, include_dashboard=False)
                self.added += 1


def head_memory(nodes: Nodes) -> float:
    """Bytes that the head's own processes hold for themselves: those that all nodes' sweeps go through."""
    head = nodes.cluster.head_node
    found = [one.process.pid for kind in ("gcs_server", "raylet") for one in head.all_processes[kind]]
    return sum(psutil.Process(process).memory_full_info().uss for process in found)


@pytest.mark.slow
def test_two_hundred_cells_while_nodes_come_and_go(nodes: Nodes, tmp_path: Path, tiny_data: Path) -> None:
    sweeps.prepare(tmp_path, tiny_data, iterations=3, variants=VARIANTS, seeds=SEEDS)
    weather, memory, seen = Weather(nodes, random.Random(0)), list[float](), dict[str, int]()
    with sweeps.Sweeps(tmp_path, nodes.cluster.address) as drivers:
        started = changed = time.monotonic()
        driver = drivers.start(OUT)
        while driver.poll() is None:
            now = sweeps.ended(tmp_path, OUT)
            assert {cell: now.get(cell) for cell in seen} == seen, "a cell that had ended was written again"
            seen = now
            memory.append(head_memory(nodes))
            assert time.monotonic() - started < SECONDS, f"{len(seen)} cells in all the time"
            if seen and time.monotonic() - changed > PAUSE:
                weather.change()
                changed = time.monotonic()
                print(f"{changed - started:.0f} s, {len(seen)} cells, {len(nodes.cluster.worker_nodes)} nodes")
            time.sleep(1.0)
        sweeps.finish(driver)
    took = time.monotonic() - started
    print(f"{took:.0f} s in all, {weather.killed} nodes killed, {weather.added} added")
    nodes.repair()

    quarter = len(memory) // 4
    before, after = statistics.median(memory[quarter : 2 * quarter]), statistics.median(memory[-quarter:])
    print(f"head: {before / 2**20:.0f} MB in the second quarter, {after / 2**20:.0f} MB in the last")
    print(f"{killing.nothing_stays():.1f} s until the cluster was clean")

    rows = sweeps.rows(tmp_path, OUT)
    attempts = [row["attempts"] for row in rows]
    print(f"{sum(attempts) - CELLS} attempts more than cells, at most {max(attempts)} at one")
    assert len(rows) == CELLS
    assert {row["status"] for row in rows} == {"finished"}, [row["error"] for row in rows if row["error"]]
    assert weather.killed >= 3
    assert sum(attempts) > CELLS
    assert after < GROWTH * before
    for row in rows:
        metrics, steps = sweeps.undisturbed(tmp_path / "data", row)
        assert {name: row[name] for name in metrics} == metrics
        assert sweeps.numbers(json.loads(row["history"])) == sweeps.numbers(steps)
