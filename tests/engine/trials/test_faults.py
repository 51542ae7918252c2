"""Faults with real processes: a worker, trial actor or node is killed or hangs, or a task raises."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from raysearch.core import UserError
from raysearch.engine.trials import callbacks, tuner
from raysearch.engine.trials.jobs import FixedJobs, Job, Listener, StepLimit
from raysearch.tasks.builders import BuildTask

from .. import killing
from ..killing import MAILBOX, TRIAL, WORKER, Nodes, when
from ..small_task import BuildOnBrokenDevice, SmallTask, plain_run, read_log

STEPS = 5
KILLED_AT = 4
LIMIT = 8.0  # seconds, far more than a step takes on a busy machine


class Recorder(Listener):
    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.reasons: list[tuple[str, str]] = []

    def retried(self, job: Job, reason: str) -> None:
        self.reasons.append((job.cell, reason))

    def ended(self, job: Job, record: dict[str, Any]) -> None:
        assert job.cell not in self.records, "a cell ended twice"
        self.records[job.cell] = record


def run(
    folder: Path,
    configs: list[dict[str, Any]],
    slots: int = 2,
    workers: int = 1,
    limit: StepLimit | None = None,
    build: BuildTask = SmallTask,
) -> Recorder:
    """Run cells and see that those that finished have the numbers of an undisturbed run, and that nothing stays."""
    recorder = Recorder()
    base = {"folder": str(folder), "steps": STEPS, "pause": 0.2}
    jobs = [
        Job(f"cell{i}", f"variant {i} seed {i}", base | {"cell": f"cell{i}"} | config, i)
        for i, config in enumerate(configs)
    ]
    resources = tuner.Capacity(slots=slots, workers=workers)
    keeping = tuner.CheckpointPolicy(str(folder / "checkpoints"), limit=limit or StepLimit())
    assert tuner.run_trials(FixedJobs(jobs), build, None, resources, recorder, keeping)
    assert set(recorder.records) == {job.cell for job in jobs}
    for job in jobs:
        record = recorder.records[job.cell]
        if record["status"] == "finished":
            losses = [step["loss"] for step in json.loads(record["history"])]
            assert (record["map"], losses) == plain_run(job.config, job.seed, workers)
            assert json.loads(record["metric_steps"]) == {"map": 0.25}
            assert record["device"] == "cpu"
    print(f"{killing.nothing_stays():.1f} s until nothing stayed")
    return recorder


def begun(folder: Path, cell: str) -> list[int]:
    """How often rank 0 began each step of a cell."""
    steps = [entry.step for entry in read_log(folder) if entry.cell == cell and entry.rank == 0]
    return [steps.count(step) for step in range(1, STEPS + 1)]


def went_on(folder: Path, cell: str, fault: float) -> None:
    """Check that the cell continued in another process: at most the interrupted step was done again."""
    entries = [entry for entry in read_log(folder) if entry.cell == cell and entry.rank == 0]
    hit = entries[0].process
    before = [entry.step for entry in entries if entry.process == hit]
    after = [entry.step for entry in entries if entry.process != hit]
    assert len({entry.process for entry in entries}) == 2, "one fault, one other process"
    assert before == list(range(1, len(before) + 1))
    assert len(before) >= KILLED_AT
    assert after == list(range(after[0], STEPS + 1))
    assert after[0] in (len(before), len(before) + 1), "steps were done again, or left out"
    again = next(entry.time for entry in entries if entry.process != hit)
    print(f"{again - fault:.1f} s from the fault to the next step")


def test_a_task_that_raises_fails_alone(nodes: Nodes, tmp_path: Path) -> None:
    records = run(tmp_path, [{}, {"faults": {"2": "raise"}}, {"faults": {"3": "nan"}}, {}, {}]).records
    assert [records[f"cell{i}"]["status"] for i in range(5)] == ["finished", "failed", "failed", "finished", "finished"]
    assert records["cell1"]["error"] == "ArithmeticError: planted"
    assert records["cell2"]["error"] == "NonFiniteLoss: the loss became nan in epoch 3"
    assert [len(json.loads(records[f"cell{i}"]["history"])) for i in (1, 2)] == [1, 2]
    assert [records[f"cell{i}"]["attempts"] for i in range(5)] == [1] * 5
    assert len({entry.process for entry in read_log(tmp_path)}) <= 2, "a task that raises costs no worker group"


def test_a_broken_device_costs_an_attempt_and_no_second_cell(nodes: Nodes, tmp_path: Path) -> None:
    recorder = run(tmp_path, [{}, {"faults": {str(KILLED_AT): "sticky"}}, {}, {}], slots=1)
    assert {record["status"] for record in recorder.records.values()} == {"finished"}
    assert [recorder.records[f"cell{i}"]["attempts"] for i in range(4)] == [1, 2, 1, 1]
    ((cell, reason),) = recorder.reasons
    assert cell == "cell1"
    assert reason.startswith("rank 0: the device cpu on ")
    assert reason.endswith(" does not compute: RuntimeError: CUDA error: an illegal memory access was encountered")


@pytest.mark.slow
def test_a_slot_whose_device_never_works_fails_no_cell(nodes: Nodes, tmp_path: Path) -> None:
    """One of two nodes is broken: the other runs all cells."""
    recorder = run(tmp_path, [{}, {}, {}], build=BuildOnBrokenDevice(str(tmp_path), everywhere=False))
    assert {record["status"] for record in recorder.records.values()} == {"finished"}
    assert len({entry.process for entry in read_log(tmp_path)}) == 1
    assert recorder.reasons
    assert all("does not compute" in reason for _, reason in recorder.reasons)


@pytest.mark.slow
def test_without_a_slot_the_study_stops_with_a_line(nodes: Nodes, tmp_path: Path) -> None:
    recorder = Recorder()
    build = BuildOnBrokenDevice(str(tmp_path), everywhere=True)
    jobs = [Job(f"cell{i}", f"variant {i}", {}, i) for i in range(3)]
    with pytest.raises(UserError, match=r"^no worker group starts any more, .* does not compute: .*; mend the machine"):
        tuner.run_trials(FixedJobs(jobs), build, None, tuner.Capacity(slots=1), recorder)
    assert recorder.records == {}, "no cell failed"
    killing.nothing_stays()


def test_what_all_ranks_meet_fails_the_cell_and_not_the_group(nodes: Nodes, tmp_path: Path) -> None:
    faults = ("nan everywhere", "memory everywhere")
    recorder = run(tmp_path, [{}, *({"faults": {"2": fault}} for fault in faults), {}], slots=1, workers=2)
    assert [recorder.records[f"cell{i}"]["status"] for i in range(4)] == ["finished", "failed", "failed", "finished"]
    assert [recorder.records[f"cell{i}"]["attempts"] for i in range(4)] == [1] * 4
    assert recorder.records["cell1"]["error"] == "NonFiniteLoss: the loss became nan in epoch 2"
    assert recorder.reasons == []
    assert len({entry.process for entry in read_log(tmp_path)}) == 2, "the group was replaced"


def test_a_worker_that_hangs_is_noticed_by_default(nodes: Nodes, tmp_path: Path) -> None:
    """By the rule that follows from the slowest step; the least time is made short."""
    limit = StepLimit(least=2.0)
    recorder = run(tmp_path, [{"faults": {str(KILLED_AT): "sleep"}}], slots=1, limit=limit)
    assert recorder.records["cell0"]["attempts"] == 2
    ((_, reason),) = recorder.reasons
    assert re.match(r"no answer for [4-9] s, the time limit of this step: the worker hung", reason)


def test_a_killed_process_costs_an_attempt_and_nothing_else(nodes: Nodes, tmp_path: Path) -> None:
    """One trial at a time, so the latest actor of a kind is that of the cell that is hit."""
    kinds = [WORKER, TRIAL, MAILBOX]
    with contextlib.ExitStack() as stack:
        killed = [
            stack.enter_context(
                when(tmp_path, f"cell{i}", KILLED_AT, lambda _, kind=kind: killing.kill(killing.actors(kind)[-1]))
            )
            for i, kind in enumerate(kinds)
        ]
        recorder = run(tmp_path, [{}] * (len(kinds) + 1), slots=1)
    for i, kind in enumerate(kinds):
        print(kind, end=": ")
        went_on(tmp_path, f"cell{i}", killed[i][0])
    assert {record["status"] for record in recorder.records.values()} == {"finished"}
    assert [recorder.records[f"cell{i}"]["attempts"] for i in range(4)] == [2, 2, 2, 1]
    assert [cell for cell, _ in recorder.reasons] == ["cell0", "cell1", "cell2"]
    print(*recorder.reasons, sep="\n")


@pytest.mark.slow
def test_a_killed_node_costs_its_trial_an_attempt_and_nothing_else(nodes: Nodes, tmp_path: Path) -> None:
    try:
        with when(tmp_path, "cell1", KILLED_AT, nodes.kill) as killed:
            records = run(tmp_path, [{}, {}, {}]).records
    finally:
        nodes.repair()
    assert {record["status"] for record in records.values()} == {"finished"}
    assert records["cell1"]["attempts"] >= 2
    went_on(tmp_path, "cell1", killed[0])


@pytest.mark.slow
def test_workers_that_hang_are_replaced(nodes: Nodes, tmp_path: Path) -> None:
    configs = [{"faults": {str(KILLED_AT): fault}} for fault in ("sleep", "hold")] + [{}]
    recorder = run(tmp_path, configs, limit=StepLimit(LIMIT))
    assert {record["status"] for record in recorder.records.values()} == {"finished"}
    assert [recorder.records[f"cell{i}"]["attempts"] for i in range(3)] == [2, 2, 1]
    assert sorted(cell for cell, _ in recorder.reasons) == ["cell0", "cell1"]
    assert all(f"no answer for {LIMIT:g} s" in reason for _, reason in recorder.reasons)
    for cell in ("cell0", "cell1"):
        hung = next(entry for entry in read_log(tmp_path) if (entry.cell, entry.step) == (cell, KILLED_AT))
        went_on(tmp_path, cell, hung.time + LIMIT)


@pytest.mark.slow
def test_retries_are_counted_from_the_last_step(nodes: Nodes, tmp_path: Path) -> None:
    """A cell whose worker always dies at the same step fails; one that makes a little progress each time does not."""
    stuck = {"faults": {"3": "die always"}}
    unlucky = {"faults": {str(step): "die" for step in range(2, STEPS + 1)}, "pause": 0.0}
    assert len(unlucky["faults"]) > callbacks.RETRIES
    records = run(tmp_path, [stuck, unlucky, {}]).records
    assert [records[f"cell{i}"]["status"] for i in range(3)] == ["failed", "finished", "finished"]
    assert [records[f"cell{i}"]["attempts"] for i in range(3)] == [callbacks.RETRIES + 1, len(unlucky["faults"]) + 1, 1]
    assert begun(tmp_path, "cell0") == [1, 1, callbacks.RETRIES + 1, 0, 0]
    assert begun(tmp_path, "cell1") == [1] + [2] * (STEPS - 1)
    assert records["cell0"]["error"] == (
        "given up after 4 attempts without a step in between, the last: "
        "the worker of rank 0 died: it was killed, was out of memory, or lost its node"
    )


@pytest.mark.slow
def test_one_of_two_ranks_is_killed(nodes: Nodes, tmp_path: Path) -> None:
    """The remains of the group hold both CPUs: only their removal lets the next one start."""
    recorder = run(tmp_path, [{"faults": {str(KILLED_AT): "die"}}, {}], slots=1, workers=2)
    assert [recorder.records[f"cell{i}"]["attempts"] for i in range(2)] == [2, 1]
    entries = [entry for entry in read_log(tmp_path) if entry.cell == "cell0"]
    assert {entry.rank for entry in entries} == {0, 1}
    went_on(tmp_path, "cell0", next(e.time for e in entries if e.step == KILLED_AT and e.rank == 1))
