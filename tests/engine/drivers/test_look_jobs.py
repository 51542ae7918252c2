"""The cells of an adaptive study, look by look, on slots that take random times; no Ray."""

import heapq
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from raysearch.engine.drivers.look_jobs import LookJobs
from raysearch.engine.drivers.study_looks import StudyLooks, looked_ablation
from raysearch.engine.preflight.study_check import check_study
from raysearch.engine.trials.jobs import Job
from raysearch.studies.design import Ablation, AblationPlan, Adaptive, factor

LOOKS = (3, 5, 8)
EFFECTS = {0: 0.0, 10: 0.3, 20: -0.3, 30: 0.001, 40: 0.01}  # regions -> difference from the reference


def plan(looks: tuple[int, ...] = LOOKS, margin: float | None = None, **changes: Any) -> AblationPlan:
    given: dict[str, Any] = {
        "question": "Does erasing help?",
        "task": "retrieval",
        "reference": {"srem.regions": 5},
        "factors": [factor("srem.regions", *EFFECTS)],
        "seeds": Adaptive(looks, margin),
    }
    planned = check_study(Ablation(**given | changes))
    assert isinstance(planned, AblationPlan)
    return planned


class Store:
    """Cells that have ended, as a results store would hold them.

    Args:
        study: the plan.
        failing: regions whose cells fail, and the error.
    """

    def __init__(self, study: AblationPlan, failing: Mapping[int, str] | None = None) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.cells = {cell.hash: cell for cell in study.cells}
        self.failing = dict(failing or {})

    def end(self, cell: str) -> None:
        regions = self.cells[cell].variant.config.srem.regions
        noise = random.Random(f"{regions} {self.cells[cell].seed}").gauss(0, 0.01)
        row: dict[str, Any] = {"cell": cell, "seed": self.cells[cell].seed, "status": "finished", "config": "{}"}
        row |= {"map": 0.5 + EFFECTS.get(regions, 0.0) + noise}
        if regions in self.failing:
            row |= {"status": "failed", "error": self.failing[regions], "map": None}
        self.rows[cell] = row

    def read(self, cells: Iterable[str]) -> dict[str, dict[str, Any]]:
        return {cell: self.rows[cell] for cell in cells if cell in self.rows}


def is_result(row: Mapping[str, Any]) -> bool:
    return "No space left" not in str(row.get("error"))


class Drive:
    """A driver on a number of slots. Each cell takes a random time.

    Args:
        study: the plan.
        store: of the results.
        slots: cells at a time.
        seed: of the times.
    """

    def __init__(self, study: AblationPlan, store: Store, slots: int = 1, seed: int = 0) -> None:
        self.study = study
        self.store = store
        self.source = LookJobs(StudyLooks(looked_ablation(study)), store.read, dict(store.rows), is_result)
        self.begun: list[str] = []
        self.idle = 0.0  # slot hours while the study was not over
        self._slots = slots
        self._times = random.Random(seed)
        self._running: list[tuple[float, str, Job]] = []
        self.now = 0.0

    def begin(self) -> None:
        """Fill the slots, and check each cell that is begun."""
        while len(self._running) < self._slots and (job := self.source.next()) is not None:
            assert job.cell not in self.store.rows, "a cell that has ended"
            open_names = self.source.state.undecided
            references = {self.study.references[name] for name in open_names}
            assert job.variant in {*open_names, *references}, "a cell of a decided variant"
            self.begun.append(job.cell)
            heapq.heappush(self._running, (self.now + self._times.uniform(1, 3), job.cell, job))

    def end(self) -> bool:
        """Let the next cell end; return whether there was one."""
        if not self._running:
            return False
        free = self._slots - len(self._running)
        ended, cell, job = heapq.heappop(self._running)
        if not self.source.over:
            self.idle += free * (ended - self.now)
        self.now = ended
        self.store.end(cell)
        self.source.ended(job, self.store.rows[cell])
        return True

    def run(self, ends: int = 10**6) -> None:
        """Run to the end of the study, or until that many cells have ended."""
        for _ in range(ends):
            self.begin()
            if not self.end():
                assert self.source.exhausted()
                return


@pytest.fixture(scope="module")
def study() -> AblationPlan:
    return plan()


@pytest.fixture(scope="module")
def alone(study: AblationPlan) -> Drive:
    drive = Drive(study, Store(study))
    drive.run()
    return drive


def test_only_undecided_variants_get_more_seeds(study: AblationPlan, alone: Drive) -> None:
    verdicts = alone.source.state.verdicts
    assert [verdicts[f"srem.regions={regions}"] for regions in (10, 20)] == ["better", "worse"]
    assert verdicts["srem.regions=30"] == "undecided"
    counts = Counter(alone.store.cells[cell].variant.name for cell in alone.begun)
    assert counts["reference"] == counts["srem.regions=30"] == LOOKS[-1]
    assert counts["srem.regions=10"] in LOOKS[:2], "decided at an earlier look"
    assert alone.source.over
    assert alone.source.exhausted()


@pytest.mark.parametrize("slots", [2, 5, 40])
def test_what_runs_early_changes_no_verdict(study: AblationPlan, alone: Drive, slots: int) -> None:
    for seed in range(10):
        drive = Drive(study, Store(study), slots, seed)
        drive.run()
        assert drive.source.state == alone.source.state
        assert len(drive.begun) == len(set(drive.begun))
        assert set(alone.begun) <= set(drive.begun)
        assert len(drive.begun) <= len(alone.begun) + slots, "more was begun in vain than there are slots"


def test_free_slots_take_cells_of_the_next_look(study: AblationPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    drive = Drive(study, Store(study), slots=7)
    drive.run()
    first_look = 6 * LOOKS[0]
    early = [cell for cell in drive.begun[:first_look] if drive.store.cells[cell].seed >= LOOKS[0]]
    assert not early, "a cell of the running look comes before all of the next one"
    following = drive.store.cells[drive.begun[first_look]]
    assert (following.variant.name, following.seed) == ("reference", LOOKS[0]), "every undecided variant needs it"
    monkeypatch.setattr(StudyLooks, "early", lambda *_: [])
    waiting = Drive(study, Store(study), slots=7)
    waiting.run()
    assert drive.now < waiting.now
    assert drive.idle < 0.6 * waiting.idle, "the rest is idle at the last look, which nothing follows"


def test_a_killed_driver_continues_with_the_same_verdicts(study: AblationPlan, alone: Drive) -> None:
    for ends in range(0, 40, 3):
        store = Store(study)
        first = Drive(study, store, 3, ends)
        first.run(ends)
        verdicts = dict(first.source.state.verdicts)
        ended = set(store.rows)
        second = Drive(study, store, 3, ends + 1)
        assert second.source.state == first.source.state, "the cells are the record"
        second.run()
        assert not ended & set(second.begun)
        assert second.source.state == alone.source.state
        for name, verdict in verdicts.items():
            assert verdict in ("undecided", second.source.state.verdicts[name])


def test_two_drivers_agree(study: AblationPlan, alone: Drive) -> None:
    """Two drivers take turns, as claims would let them: a cell that one runs is not begun by the other."""
    store = Store(study)
    both = [Drive(study, store, 2, seed) for seed in (1, 2)]
    begun: dict[str, int] = {}
    waiting: list[list[Job]] = [[], []]
    turn = random.Random(0)
    running: list[tuple[int, Job]] = []
    for _ in range(1000):
        if all(drive.source.over for drive in both):
            break
        number = turn.randrange(2)
        source = both[number].source
        if turn.random() < 0.6 and (job := source.next()) is not None:
            if job.cell in store.rows:
                source.ended(job, store.rows[job.cell])
            elif job.cell in begun:
                waiting[number].append(job)
            else:
                begun[job.cell] = number
                running.append((number, job))
        elif running and len(running) > turn.randrange(4):
            owner, job = running.pop(turn.randrange(len(running)))
            store.end(job.cell)
            both[owner].source.ended(job, store.rows[job.cell])
        for job in [job for job in waiting[number] if job.cell in store.rows]:
            waiting[number].remove(job)
            source.ended(job, store.rows[job.cell])
    assert [drive.source.state for drive in both] == [alone.source.state] * 2
    assert set(alone.begun) <= set(begun)


def test_failed_cells_end(study: AblationPlan) -> None:
    drive = Drive(study, Store(study, {40: "NonFiniteLoss: the loss became nan"}), 3)
    drive.run()
    assert drive.source.over
    assert drive.source.state.verdicts["srem.regions=40"] == "undecided"
    assert drive.source.state.judged == len(LOOKS)


def test_a_cell_that_is_no_result_holds_its_look(study: AblationPlan) -> None:
    store = Store(study, {0: "OSError: No space left on device"})
    drive = Drive(study, store, 1)
    drive.run()
    assert (drive.source.state.judged, drive.source.blocked) == (0, LOOKS[0])
    assert {store.cells[cell].seed for cell in drive.begun} == set(range(LOOKS[0])), "the next look was begun"
    store.failing.clear()
    store.rows = {cell: row for cell, row in store.rows.items() if is_result(row)}
    again = Drive(study, store, 1)
    again.run()
    assert again.source.over


def test_a_margin_ends_what_does_not_matter() -> None:
    study = plan(margin=0.05)
    drive = Drive(study, Store(study), 2)
    drive.run()
    assert drive.source.state.verdicts["srem.regions=30"] == "within margin"
    assert drive.source.over
    assert drive.source.state.judged < len(LOOKS)


def test_each_block_has_its_reference() -> None:
    study = plan(
        factors=[factor("hash.bits", 12, 24), factor("srem.regions", *EFFECTS)], design="full", within=("hash.bits",)
    )
    drive = Drive(study, Store(study), 4)
    drive.run()
    assert drive.source.over
    counts = Counter(drive.store.cells[cell].variant.name for cell in drive.begun)
    for name, reference in study.references.items():
        assert counts[reference] >= counts[name], "a reference runs while any of its variants is undecided"


def test_pre_trainings_come_first() -> None:
    """A look whose pre-trainings have not ended gives no job, and neither do cells of the next look."""
    study = check_study("helixformer_depth", settings={"pretrain.epochs": 1}, seeds=Adaptive((3, 5)))
    assert isinstance(study, AblationPlan)
    source = LookJobs(StudyLooks(looked_ablation(study)), lambda cells: {}, {}, is_result)
    assert source.next() is None
    assert source.exhausted(), "so that the pre-trainings can run"
    starts = [cell.start for cell in source.missing() if cell.start]
    assert starts
    source.set_prepared(starts)
    jobs = []
    while (job := source.next()) is not None:
        jobs.append(job)
    assert {job.start for job in jobs} == {start.hash for start in starts}
    assert {job.cell for job in jobs} == {cell.hash for cell in source.missing()}
