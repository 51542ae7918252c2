"""What a sweep would do, without doing it: cells, which of them have ended, and what the rest will cost."""

from pathlib import Path
from typing import Any

from rich.console import Console

from raysearch.engine.options import Run
from raysearch.runs import results
from raysearch.studies.design import ablation_plan, search_plan
from raysearch.studies.design import plan as planning


def completed(plan: ablation_plan.AblationPlan, reader: results.CellReader, retry_failed: bool) -> dict[str, Any]:
    """Cells that need not run. One that a search stopped early is no answer here: it goes on from its checkpoint."""
    answers = ("finished",) if retry_failed else ("finished", "failed")
    found = reader.read(cell.hash for cell in plan.cells)
    return {cell: one for cell, one in found.items() if one["status"] in answers}


def print_dry_run(
    plan: ablation_plan.AblationPlan | search_plan.SearchPlan,
    run: Run,
    reader: results.CellReader,
    retry_failed: bool,
    console: Console,
) -> None:
    """What would be run, and what it will cost."""
    if not isinstance(plan, ablation_plan.AblationPlan):
        _print_search(plan, run.directory, console)
        return
    before = completed(plan, reader, retry_failed)
    starts = planning.pre_trainings(cell for cell in plan.cells if cell.hash not in before)
    begun = reader.read([one.hash for one in starts])
    for one in starts:
        state = begun[one.hash]["status"] if one.hash in begun else "to run"
        console.print(f"{one.hash}  {state:9}  seed {one.seed}  {one.variant.name}")
    _print_plan(plan, before, console)


def _print_plan(plan: ablation_plan.AblationPlan, before: dict[str, Any], console: Console) -> None:
    for cell in plan.cells:
        state = before[cell.hash]["status"] if cell.hash in before else "to run"
        console.print(f"{cell.hash}  {state:9}  seed {cell.seed}  {cell.variant.name}")
    seconds = [record["seconds"] for record in before.values() if record["status"] == "finished"]
    left = len(plan.cells) - len(before)
    cost = f"about {left * sum(seconds) / len(seconds):.0f} worker seconds" if seconds else "of a cost not known yet"
    console.print(
        f"{len(plan.cells)} cells: {len(before)} ended, {left} to run, {cost if left else 'which costs nothing'}"
    )


def _print_search(plan: search_plan.SearchPlan, run_dir: Path, console: Console) -> None:
    """What a search would do; its configs are not known beforehand, but what they cost is bounded."""
    asked = plan.search
    for group in plan.groups:
        prefix = f"{group.label}: " if group.label else ""
        stopped = f", stopped early by {asked.scheduler}" if asked.scheduler else ""
        console.print(f"{prefix}{plan.trials} configs by {asked.sampler}{stopped}, seeds {list(plan.seeds)}")
        if asked.judge_seeds:
            judging = asked.judging_seeds(list(plan.seeds))
            console.print(f"{prefix}the best of them against the reference on seeds {judging}")
    cells = len(plan.groups) * (plan.trials * len(plan.seeds) + 2 * asked.judge_seeds)
    before = results.load(run_dir) if (run_dir / "study.json").exists() else None
    done = before.num_rows if before is not None else 0
    seconds = [one for one in before["seconds"].to_pylist() if one] if before is not None and done else []
    cost = f"about {(cells - done) * sum(seconds) / len(seconds):.0f} worker seconds" if seconds else "not known yet"
    console.print(f"at most {cells} cells: {done} ended, the cost of the rest is {cost}")
