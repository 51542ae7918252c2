"""Draw a run's report and tables again, or follow a run while it goes on.

python -m raysearch.report runs/srem_ablation-laptop            report.html and tables/ anew
python -m raysearch.report runs/srem_ablation-laptop --live     a page of it in the browser, always up to date
"""

from pathlib import Path
from typing import Annotated

import typer

import dashboards.report
import dashboards.tables
from raysearch import cli
from raysearch.errors import UserError
from raysearch.studies import results

app = typer.Typer(add_completion=False)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="a directory that raysearch.sweep wrote", metavar="RUN")],
    live: Annotated[bool, typer.Option("--live", help="serve a page on this machine that follows RUN")] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="of the live page; else a free one")] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="open no browser with the live page")] = False,
) -> None:
    """Write report.html, tables/ and results.parquet of RUN from its cells, whether it ended or not; or follow RUN."""
    if live:
        from dashboards.live import server

        server.serve(run, port or 0, not no_open, cli.console())
        return
    if port is not None or no_open:
        raise UserError("--port and --no-open are for --live")
    study, table = results.read_study(run), results.save_table(run)
    path = dashboards.report.write(run, table)
    console = cli.console()
    console.print(dashboards.tables.terminal(study, table))
    console.print(dashboards.report.answer(study, table), markup=False, highlight=False)
    console.print(str(path), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    cli.run(app)
