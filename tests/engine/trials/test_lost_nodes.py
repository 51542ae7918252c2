"""Which faults a lost node explains."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from raysearch.core import Interrupt
from raysearch.engine.trials.callbacks import TuneListenerCallback
from raysearch.engine.trials.jobs import Job, Listener
from raysearch.engine.trials.lost_nodes import TOGETHER, LostNodes


class Bench:
    """A clock, nodes, and a trial whose faults Tune counts."""

    def __init__(self) -> None:
        self.now = 0.0
        self.dead: set[str] = set()
        self.trial = SimpleNamespace(trial_id="cell", run_metadata=SimpleNamespace(num_failures=0), error_file=None)
        self.records: list[dict[str, Any]] = []
        listener = Listener()
        listener.ended = lambda job, record: self.records.append(record)  # type: ignore[method-assign]
        queue: Any = SimpleNamespace(handed_out={"cell": Job("cell", "a cell", {}, 0)}, stopping=lambda: False)
        self.callback = TuneListenerCallback(queue, listener, Interrupt())
        self.callback.on_trial_start(0, [], self.trial)
        self.lost = LostNodes(self.callback.forgive, self.nodes, lambda: self.now)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": name not in self.dead} for name in ("one", "other", "third")]

    def fault(self) -> None:
        self.trial.run_metadata.num_failures += 1  # Tune counts before it calls
        self.lost.on_trial_recover(0, [], self.trial)

    def passes(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.lost.on_step_end(0, [])

    @property
    def counted(self) -> int:
        return self.trial.run_metadata.num_failures


def test_a_fault_of_the_cell_s_own_counts() -> None:
    bench = Bench()
    bench.fault()
    bench.passes(3 * TOGETHER)
    assert bench.counted == 1


@pytest.mark.parametrize("death_first", [True, False])
def test_a_lost_node_explains_a_fault_before_and_after(death_first: bool) -> None:
    bench = Bench()
    steps = [lambda: bench.dead.add("other"), bench.fault]
    for step in steps if death_first else reversed(steps):
        step()
        bench.passes(TOGETHER / 2)
    assert bench.counted == 0


def test_a_node_that_was_lost_long_ago_explains_nothing() -> None:
    bench = Bench()
    bench.dead.add("other")
    bench.passes(TOGETHER + 5)
    bench.fault()
    bench.passes(5)
    assert bench.counted == 1


def test_any_number_of_lost_nodes_leaves_the_retries_and_counts_as_attempts() -> None:
    bench = Bench()
    for name in ("one", "other", "third"):
        bench.dead.add(name)
        bench.fault()
        bench.passes(2 * TOGETHER)
    assert bench.counted == 0
    bench.fault()
    bench.passes(2 * TOGETHER)
    assert bench.counted == 1
    record = json.dumps({"attempts": 1, "status": "finished"})
    bench.callback.on_trial_result(0, [], bench.trial, {"record": record})
    assert bench.records[0]["attempts"] == 5


def test_one_death_explains_the_faults_of_all_its_trials_once() -> None:
    bench = Bench()
    bench.fault()
    bench.fault()
    bench.dead.add("one")
    bench.passes(10)
    assert bench.counted == 0
    bench.passes(2 * TOGETHER)
    bench.fault()
    bench.passes(10)
    assert bench.counted == 1
