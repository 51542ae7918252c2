"""Train one config on this machine, without Ray and without a search.

    python -m raysearch.train retrieval                                  embedded data set, laptop profile
    python -m raysearch.train retrieval --data shards/ --set srem.regions=0 --seed 1

With the config and seed of a study's cell it ends with the cell's numbers, bit for bit on a CPU.
"""

import json
import os
from pathlib import Path

import torch
import typer
from rich.console import Console

from raysearch import cli
from raysearch.data import feed, shards, synthetic
from raysearch.data.cache import cache_dir
from raysearch.errors import UserError
from raysearch.studies import overrides
from raysearch.studies.profiles import profile_settings
from raysearch.tasks import retrieval
from raysearch.tasks.base import Feed, NonFiniteLoss, Worker

app = typer.Typer(add_completion=False)


@app.command()
def main(
    task: str = typer.Argument(metavar="TASK", help="retrieval"),
    data: Path | None = typer.Option(None, help="directory of shards (raysearch.ingest); else the embedded data set"),
    profile: str = typer.Option("laptop", help="laptop or paper: where the settings start"),
    set_: list[str] = typer.Option([], "--set", metavar="PATH=VALUE", help="change the config"),
    seed: int = typer.Option(0, help="of everything random"),
    out: Path | None = typer.Option(None, help="file for the trained state"),
) -> None:
    """Train one config and print a line an iteration, then the metrics as JSON."""
    console = Console(highlight=False, soft_wrap=True)
    if out is not None and (out.is_dir() or not os.access(out.parent, os.W_OK)):
        raise UserError(f"cannot write {out}: --out takes a file in a directory that exists and can be written")
    given = overrides.parse(set_, task)
    config = overrides.resolve(task, overrides.start_from(task, profile_settings(task, profile), given))
    directory = data or synthetic.ensure(synthetic.Spec(), cache_dir())
    manifest = shards.read_manifest(directory)
    sets = feed.decode(directory, config.data.side, config.data.zoom)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)  # as in a study's workers: more threads add in another order
    worker = Worker(Feed(**sets, content_hash=manifest.content_hash), cache_dir() / "features", device)
    running = retrieval.RetrievalTask(config, seed, worker)
    try:
        for _ in range(running.steps):
            report = running.advance()
            console.print("  ".join(f"{name} {_short(value)}" for name, value in report.items()))
    except NonFiniteLoss as error:
        raise UserError(str(error)) from None
    metrics = running.evaluate()
    console.print(json.dumps({name: value for name, value in metrics.items() if isinstance(value, float)}))
    if out is not None:
        torch.save(running.state_dict(), out)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    cli.run(app)
