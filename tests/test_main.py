"""The command `raysearch`, and what `import raysearch` offers."""

import subprocess
import sys

import pytest

import raysearch
from raysearch.__main__ import COMMANDS


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)


def test_help_lists_the_commands() -> None:
    shown = run("raysearch", "--help")
    assert shown.returncode == 0
    for name, summary in COMMANDS.items():
        assert f"  {name:<10}{summary}" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100


def test_no_command_is_a_usage_error() -> None:
    shown = run("raysearch")
    assert shown.returncode == 2
    assert shown.stdout.startswith("Usage: raysearch COMMAND")


def test_an_unknown_command_names_the_nearest() -> None:
    shown = run("raysearch", "swep", "srem_ablation")
    assert shown.returncode == 2
    assert shown.stderr == "error: unknown command 'swep'; did you mean 'sweep'?\n"


def test_the_version() -> None:
    assert run("raysearch", "--version").stdout == f"{raysearch.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_subcommand_is_the_module_of_its_name(name: str) -> None:
    shown = run("raysearch", name, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"python -m raysearch.{name}" in shown.stdout


def test_a_wrong_input_of_a_subcommand_is_one_line() -> None:
    shown = run("raysearch", "sweep", "srem_ablatoin")
    assert shown.returncode == 2
    assert shown.stderr == "error: unknown study 'srem_ablatoin'; did you mean 'srem_ablation'?\n"


def test_importing_raysearch_imports_neither_torch_nor_ray() -> None:
    code = (
        "import sys; from raysearch import Ablation, Search, choice, component, factor;"
        "print(sorted({'ray', 'torch', 'torchvision'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'raysearch' has no attribute 'Ablatoin'"):
        _ = raysearch.Ablatoin
    assert {"Ablation", "Search", "choice", "component", "factor"} <= set(dir(raysearch))
