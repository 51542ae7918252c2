"""A whole search with a simulated engine: what it learns is shown, recorded, taken over and known to the scheduler."""

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from raysearch.core import Interrupt
from raysearch.engine.drivers import session
from raysearch.engine.drivers.cell_store import CellStore
from raysearch.engine.drivers.search import SearchDriver
from raysearch.engine.options import Options, Run, RunContext
from raysearch.runs import Surroundings, results
from raysearch.studies.design import search_plan

from .planted import METRIC, OtherRun, plan, score


class SimulatedSession:
    """Runs the jobs of a stage one after the other, without Ray: each cell has its score at once."""

    def __init__(self, context: RunContext) -> None:
        self.storage = context.checkpoints
        options = context.options
        self._store = CellStore(context.run, self.storage, options.adopt, options.learn_from)
        self.ran: list[str] = []
        self.rungs: list[Any] = []

    def prepare(self, *given: Any) -> bool:
        return True

    def execute(self, stage: session.Stage) -> bool:
        self.rungs.append(stage.scheduler)
        while (job := stage.jobs.next()) is not None:
            record = self._store.find(job.cell, stage.accept)
            if record is None:
                self.ran.append(job.cell)
                settings = {"train.lr": job.config["train"]["lr"], "srem.regions": job.config["srem"]["regions"]}
                value = score(settings, job.seed) / 1000
                record = {"cell": job.cell, "seed": job.seed, "status": "finished", METRIC: value, "history": "[]"}
                self._store.ended(job, record)
            for listener in stage.listeners:
                listener.ended(job, record)
        return True


class SimulatedSearch:
    """A search in a run directory."""

    def __init__(self, folder: Path, planned: search_plan.SearchPlan, **options: Any) -> None:
        self.driver = SearchDriver(planned)
        self.shown = io.StringIO()
        record = self.driver.describe(Surroundings())
        record.data.content_hash = planned.data
        manifest = SimpleNamespace(content_hash=planned.data)
        run = Run(folder, None, manifest, record)  # type: ignore[arg-type]
        console = Console(file=self.shown, width=1000)
        self.context = RunContext(run, Options(**options), console, Interrupt())
        self.session = SimulatedSession(self.context)

    def run(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Search and judge; return the cells that ran."""

        @contextlib.contextmanager
        def _open(*given: Any) -> Iterator[SimulatedSession]:
            yield self.session

        monkeypatch.setattr(session, "open_session", _open)
        assert self.driver.run(self.context)
        return self.session.ran


@pytest.fixture
def others(tmp_path: Path) -> OtherRun:
    """A run with four configs that are better than all that a simulated cell reaches."""
    other = OtherRun(tmp_path / "runs" / "other", plan())
    for index in range(4):
        other.add({"train.lr": 0.01 * (1 + index), "srem.regions": 10}, map=0.5)
    return other


def test_a_search_learns_from_the_runs_beside_it(
    others: OtherRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan()
    search = SimulatedSearch(tmp_path / "runs" / "mine", planned)
    ran = search.run(monkeypatch)
    assert f"learned from 4 configs, 4 cells of {others.folder}; 1 of them is tried first" in search.shown.getvalue()
    assert len(ran) == planned.trials + 2 * planned.search.judge_seeds
    study = results.read_study(tmp_path / "runs" / "mine")
    (learned,) = study.learned
    assert (learned.configs, learned.first, learned.runs) == (4, 1, {str(others.folder): 4})
    assert study.adopted_from == {str(others.folder): 1}
    assert study.to_dict()["best"][0]["settings"] == {"train.lr": 0.04, "srem.regions": 10}
    again = SimulatedSearch(tmp_path / "runs" / "mine", planned)
    assert again.run(monkeypatch) == []
    assert "learned" not in again.shown.getvalue()
    assert results.read_study(tmp_path / "runs" / "mine").learned == study.learned


def test_a_named_run_elsewhere_is_taken_over_too(
    others: OtherRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan()
    far = tmp_path / "far" / "away"
    alone = SimulatedSearch(far / "alone", planned)
    assert len(alone.run(monkeypatch)) == planned.trials + 4
    search = SimulatedSearch(far / "mine", planned, learn_from=(others.folder,))
    assert len(search.run(monkeypatch)) <= planned.trials + 4
    study = results.read_study(far / "mine")
    assert study.learned[0].runs == {str(others.folder): 4}
    assert study.adopted_from[str(others.folder)] == 1
    assert study.to_dict()["best"][0]["settings"]["train.lr"] == 0.04


@pytest.mark.parametrize("options", [{"learn": False}, {"adopt": False}])
def test_a_search_can_start_from_nothing(
    options: dict[str, Any], others: OtherRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = SimulatedSearch(tmp_path / "runs" / "mine", plan(), **options)
    search.run(monkeypatch)
    study = results.read_study(tmp_path / "runs" / "mine")
    assert study.learned == []
    assert study.to_dict()["best"][0]["settings"]["train.lr"] != 0.04


def test_a_broken_run_beside_is_a_line_and_the_search_goes_on(
    others: OtherRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "runs" / "broken"
    shutil.copytree(others.folder, broken)
    (broken / "study.json").write_text("{")
    search = SimulatedSearch(tmp_path / "runs" / "mine", plan())
    search.run(monkeypatch)
    lines = [line for line in search.shown.getvalue().splitlines() if f"'{broken}'" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"nothing is learned from '{broken}': ")
    assert results.read_study(tmp_path / "runs" / "mine").learned[0].configs == 4


def test_a_dry_run_shows_what_would_be_learned(others: OtherRun, tmp_path: Path) -> None:
    search = SimulatedSearch(tmp_path / "runs" / "mine", plan())
    search.driver.dry_run(search.context)
    assert "learned from 4 configs" in search.shown.getvalue()
    assert not (tmp_path / "runs" / "mine").exists()


def test_a_scheduler_knows_the_learned_curves(
    others: OtherRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, learn in (("taught", True), ("alone", False)):
        search = SimulatedSearch(tmp_path / "runs" / name, plan(scheduler_options={"grace_period": 1}), learn=learn)
        search.run(monkeypatch)
        scheduler = search.session.rungs[0]
        trial = SimpleNamespace(trial_id="weak", status="RUNNING")
        scheduler.on_trial_add(None, trial)
        decision = scheduler.on_trial_result(None, trial, {"trained": 1, METRIC: 0.0001})
        assert decision == ("STOP" if learn else "CONTINUE"), name
