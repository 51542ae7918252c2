"""Write a study file to begin with.

    python -m raysearch.new my_study.py             an ablation of a network of your own
    python -m raysearch.new my_search.py --search   a search for its best settings
    python -m raysearch.new my_loss.py --loss       your hashing loss beside the built-in ones
    python -m raysearch.new my_head.py --head       your few-shot head beside the built-in ones

The file runs as it is: `raysearch sweep my_study.py`. Replace its network, its data and its factors by yours.
"""

from importlib import resources
from pathlib import Path

import typer

from raysearch.core import UserError, atomic, cli

app = typer.Typer(add_completion=False)


@app.command(
    epilog=cli.examples(
        "raysearch new my_study.py", "raysearch new my_search.py --search", "raysearch new my_loss.py --loss"
    )
)
def main(
    path: Path = typer.Argument(metavar="FILE", help="file to write, which must not exist"),
    search: bool = typer.Option(False, "--search", help="a search for the best settings, instead of an ablation"),
    loss: bool = typer.Option(False, "--loss", help="an ablation of a hashing loss of your own"),
    head: bool = typer.Option(False, "--head", help="an ablation of a few-shot head of your own"),
) -> None:
    """Write a commented study file that runs as it is."""
    console = cli.console()
    kinds = [kind for kind, chosen in (("search", search), ("loss", loss), ("head", head)) if chosen]
    if len(kinds) > 1:
        raise UserError(f"--{kinds[0]} and --{kinds[1]} exclude each other; leave one of them out")
    path = path.expanduser()
    if path.suffix != ".py":
        raise UserError(f"'{path}' is not a Python file; call it {path.with_suffix('.py')}")
    if path.exists():
        raise UserError(f"'{path}' exists; choose another name, or remove it")
    cli.check_writable(path, "FILE")
    template = resources.files("raysearch") / "templates" / f"{(kinds or ['study'])[0]}.py"
    text = template.read_text("utf-8").replace("STUDY_FILE", str(path)).replace("STUDY_NAME", path.name)
    atomic.write_bytes(path, text.encode())
    console.print(f"wrote {path}", markup=False)
    console.print(f"try it: raysearch sweep {path} --dry-run", markup=False)


if __name__ == "__main__":
    cli.run(app)
