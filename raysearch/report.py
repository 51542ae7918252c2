"""Draw a run's report again, or put runs side by side.

python -m raysearch.report runs/srem_ablation
python -m raysearch.report runs/before runs/after --out runs/comparison
"""

from pathlib import Path
from typing import Annotated

import typer

import dashboards.comparison
import dashboards.comparison_tables
import dashboards.report
import dashboards.tables
from raysearch import cli, visible
from raysearch.errors import UserError
from raysearch.studies import results

app = typer.Typer(add_completion=False)
Runs = Annotated[list[Path], typer.Argument(help="directories that raysearch.sweep wrote", metavar="RUN...")]
Out = Annotated[
    Path | None, typer.Option("--out", help="of several runs: the comparison's directory; else beside the first run")
]


@app.command()
def report(runs: Runs, out: Out = None) -> None:
    """Write report.html, tables/ and results.parquet of RUN from its cells, whether it ended or not.

    Of several runs write comparison.html and tables/: the same variants side by side, the later runs against the first.
    Runs whose metric, data or protocol differ are refused.
    """
    if len(runs) > 1:
        _compare(runs, out or dashboards.comparison.beside(runs))
    elif out is not None:
        raise UserError("--out takes several runs to compare; the report of one run stands in its directory")
    else:
        _draw(runs[0])


def _draw(run: Path) -> None:
    study, table = results.read_study(run), results.save_table(run)
    path = dashboards.report.write(run, table)
    _print(dashboards.tables.terminal(study, table), dashboards.report.answer(study, table), path)


def _compare(runs: list[Path], out: Path) -> None:
    shown = dashboards.comparison.read(runs)
    path = dashboards.comparison.write(shown, out)
    _print(dashboards.comparison_tables.terminal(shown), dashboards.comparison.sentence(shown), path)


def _print(table: object, answer: str, path: Path) -> None:
    console = cli.console()
    console.print(table)
    console.print(answer, markup=False, highlight=False)
    console.print(visible.text(str(path)), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    cli.run(app)
