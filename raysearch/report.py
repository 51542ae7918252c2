"""Draw a run's report and tables again: `python -m raysearch.report runs/srem_ablation`."""

from pathlib import Path
from typing import Annotated

import typer

import dashboards.report
import dashboards.tables
from raysearch import cli
from raysearch.studies import results

app = typer.Typer(add_completion=False)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="a directory that raysearch.sweep wrote", metavar="RUN")]) -> None:
    """Write report.html, tables/ and results.parquet of RUN from its cells, whether it ended or not."""
    study, table = results.read_study(run), results.save_table(run)
    path = dashboards.report.write(run, table)
    console = cli.console()
    console.print(dashboards.tables.terminal(study, table))
    console.print(dashboards.report.answer(study, table), markup=False, highlight=False)
    console.print(str(path), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    cli.run(app)
