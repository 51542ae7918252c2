"""The command `raysearch`, and what `import raysearch` offers."""

import json
import re
import subprocess
import sys

import pytest
import yaml

import raysearch
from raysearch.__main__ import COMMANDS
from raysearch.studies.design import study_names


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


HELPS = [
    "sweep",
    "train",
    "ingest",
    "ingest verify",
    "report",
    "retrieve index",
    "retrieve query",
    "classify",
    "cluster check",
    "cluster fill",
]


@pytest.mark.parametrize("words", HELPS)
def test_help_names_values_and_ends_with_examples(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    shown = run("raysearch", *words.split(), "--help")
    assert shown.returncode == 0, shown.stderr
    usage, _, examples = shown.stdout.partition("Examples:")
    assert not re.search(r"<(bool|int|str|float|path|list)", usage)
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    assert lines
    assert all(line.startswith(f"raysearch {words.split()[0]} ") for line in lines)


def test_the_studies_are_listed() -> None:
    shown = run("raysearch", "sweep", "--list")
    assert shown.returncode == 0, shown.stderr
    assert all(name in shown.stdout for name in study_names())
    assert shown.stderr == ""


def test_the_settings_of_a_study_are_those_of_its_reference() -> None:
    words = ["raysearch", "sweep", "srem_ablation", "--set", "data.side=112", "--settings"]
    shown = run(*words)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0] == "# the reference of srem_ablation; the study varies srem.regions, srem.size"
    assert "data.side=112    # given here; default 224" in lines
    assert "srem.size=16    # reference; default 32" in lines
    plain = json.loads(run(*words, "--format", "json").stdout)
    assert plain["srem"]["size"] == 16
    assert plain == yaml.safe_load(run(*words, "--format", "yaml").stdout)


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
