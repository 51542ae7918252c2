"""Python files in a run of somebody else, when a user works in that folder."""

import sys
from pathlib import Path

import pytest

from ..dashboards.conftest import ablation, write_run
from .users import User, needs_two_users

SCRIPT = (
    "import sys\nfrom raysearch.__main__ import main\nsys.exit(main())\n"  # as pip writes it for the console script
)
PLANTED = (
    "typer.py",
    "pkgutil.py",
    "IPython.py",
    "sitecustomize.py",
    "dashboards/__init__.py",
    "raysearch/__init__.py",
)


@pytest.fixture
def foreign_run(attacker: User, victim: User, tmp_path: Path) -> Path:
    """A run with modules that write a file when they are imported; the victim has a copy."""
    run = write_run(tmp_path / "runs" / "run", ablation(), seeds=1)
    for name in PLANTED:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(f"open({str(victim.home / 'taken')!r}, 'a').write({name!r})\n")
    return victim.own(run.rename(victim.home / "run"))


@needs_two_users
def test_the_console_script_runs_nothing_of_a_foreign_folder(victim: User, foreign_run: Path) -> None:
    script = victim.write("bin/raysearch", SCRIPT)
    done = victim.run("sh", "-c", f'cd {foreign_run} && exec "$@"', "sh", sys.executable, str(script), "report", ".")
    assert done.returncode == 0, done.stderr
    assert (foreign_run / "report.html").exists()
    assert not (victim.home / "taken").exists(), (victim.home / "taken").read_text()


@needs_two_users
def test_a_safe_path_does_the_same_for_modules(victim: User, foreign_run: Path) -> None:
    """Without it, a package `raysearch` in the current folder takes the place of raysearch."""
    words = ("sh", "-c", f'cd {foreign_run} && exec "$@"', "sh", sys.executable, "-m", "raysearch.report", ".")
    victim.run(*words)
    taken = (victim.home / "taken").read_text()
    assert "raysearch/__init__.py" in taken, "the warning in SECURITY.md is no longer needed"
    (victim.home / "taken").unlink()
    done = victim.run(*words, PYTHONSAFEPATH="1")
    assert done.returncode == 0, done.stderr
    assert not (victim.home / "taken").exists(), (victim.home / "taken").read_text()
