"""Remove checkpoints of a run that nothing needs any more.

python -m raysearch.prune runs/srem_ablation-laptop                 keep what the gallery and an export need
python -m raysearch.prune runs/srem_ablation-laptop --keep none     keep no checkpoint of a finished cell
python -m raysearch.prune runs/srem_ablation-laptop --dry-run       print what would be removed
"""

from pathlib import Path

import typer

from raysearch.core import UserError, cli
from raysearch.inspection import kept_checkpoints
from raysearch.runs import heartbeat
from raysearch.runs.disk_forecast import format_bytes
from raysearch.runs.retention import Keep

app = typer.Typer(add_completion=False)


@app.command(
    epilog=cli.examples(
        "raysearch prune runs/srem_ablation-laptop --dry-run",
        "raysearch prune runs/srem_ablation-laptop --keep none",
    )
)
def main(
    run: Path = typer.Argument(metavar="RUN", help="Run directory of raysearch.sweep."),
    keep: Keep = typer.Option(
        Keep.BEST,
        help="best: of the cells that gallery and export choose. last: the last one of every cell. none: none.",
    ),
    storage: str | None = typer.Option(
        None, metavar="PATH", help="Path or URI of the checkpoints, if the run used --storage."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print what would be removed; remove nothing."),
) -> None:
    """Remove checkpoints of finished cells. Results, reports and files of unfinished cells stay."""
    if heartbeat.working(run):
        raise UserError(f"a sweep works on '{run}' now; prune it when that has ended")
    if dry_run:
        pruning = kept_checkpoints.plan_pruning(run, keep, storage)
    else:
        pruning = kept_checkpoints.prune(run, keep, storage)
    verb = "would remove" if dry_run else "removed"
    cells = len({cell for cell, _ in pruning.files})
    cli.console().print(
        f"{verb} {len(pruning.files)} checkpoints of {cells} cells, {format_bytes(pruning.removed_bytes)}; "
        f"{format_bytes(pruning.kept_bytes)} stay"
    )


if __name__ == "__main__":
    cli.run(app)
