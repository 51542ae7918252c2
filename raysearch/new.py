"""Write a study file to begin with.

    python -m raysearch.new my_study.py             an ablation of a network of your own
    python -m raysearch.new my_search.py --search   a search for its best settings

The file runs as it is: `raysearch sweep my_study.py`. Replace its network, its data and its factors by yours.
"""

from importlib import resources
from pathlib import Path

import typer

from raysearch.core import UserError, atomic, cli

app = typer.Typer(add_completion=False)


@app.command(epilog=cli.examples("raysearch new my_study.py", "raysearch new my_search.py --search"))
def main(
    path: Path = typer.Argument(metavar="FILE", help="file to write, which must not exist"),
    search: bool = typer.Option(False, "--search", help="a search for the best settings, instead of an ablation"),
) -> None:
    """Write a commented study file that runs as it is."""
    console = cli.console()
    path = path.expanduser()
    if path.suffix != ".py":
        raise UserError(f"'{path}' is not a Python file; call it {path.with_suffix('.py')}")
    if path.exists():
        raise UserError(f"'{path}' exists; choose another name, or remove it")
    cli.check_writable(path, "FILE")
    template = resources.files("raysearch") / "templates" / ("search.py" if search else "study.py")
    atomic.write_bytes(path, template.read_text("utf-8").replace("STUDY_FILE", str(path)).encode())
    console.print(f"wrote {path}", markup=False)
    console.print(f"try it: raysearch sweep {path} --dry-run", markup=False)


if __name__ == "__main__":
    cli.run(app)
