"""Every command, flag, link, picture and Python block of the documentation exists and is sound."""

import contextlib
import importlib
import re
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from raysearch.__main__ import COMMANDS
from raysearch.core import cli, extensions
from raysearch.models.backbone_specs import BACKBONES, BUILT_IN
from raysearch.studies.design import study_files

from .pages import ROOT, Block, Command, Page, all_pages

PAGES = all_pages()
ALL_COMMANDS = [command for page in PAGES for command in page.commands]
PYTHON = [block for page in PAGES for block in page.blocks if block.language == "python"]
# Studies of these pages need the files of other blocks; `test_extending.py` runs them.
WITH_FILES = ("extending.md", "your_model.md", "your_model_libraries.md")
STUDIES = [
    block for block in PYTHON if re.search(r"^study = ", block.text, re.MULTILINE) and block.page.name not in WITH_FILES
]
# Flags of other programs that the pages name by themselves, and programs whose command lines they show.
FOREIGN_FLAGS = {"--exclude-newer", "--help", "--minutes", "--quick", "--shm-size", "--signal", "--time"}
FOREIGN_PROGRAMS = ("aws", "helm", "ray", "sbatch", "uv")


def click_command(name: str, words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that the words start, of several in a module the one they name, and its arguments."""
    module = importlib.import_module(f"raysearch.{name}")
    if name == "ingest" and words[:1] == ["verify"]:
        return complete(module.checking), words[1:]
    command = complete(module.app)
    if hasattr(command, "commands"):
        return command.commands[words[0]], words[1:]
    return command, words


def complete(app: typer.Typer) -> Any:
    """Return a command with the options that all commands share."""
    command = typer.main.get_command(app)
    cli._add_common_options(command)
    return command


def options(command: click.Command) -> set[str]:
    names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    nested = [options(inner) for inner in getattr(command, "commands", {}).values()]
    return names.union(*nested)


def test_the_pages_have_commands() -> None:
    assert {command.words[0] for command in ALL_COMMANDS} == set(COMMANDS)


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=str)
def test_a_command_parses(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its flags exist, its values have the right types, and no argument is missing."""
    monkeypatch.setattr(extensions, "load", lambda names: None)
    name, *words = command.words
    assert name in COMMANDS
    found, arguments = click_command(name, words)
    with contextlib.suppress(typer.Exit):  # of `--list`
        found.make_context(f"raysearch {name}", arguments)  # raises for what does not parse


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_flags_in_the_text_exist(page: Page) -> None:
    known = set(FOREIGN_FLAGS)
    for name in COMMANDS:
        module = importlib.import_module(f"raysearch.{name}")
        known |= options(complete(module.app))
    code = [words for words in re.findall(r"`([^`\n]+)`", page.prose) if words.split()[0] not in FOREIGN_PROGRAMS]
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", " ".join(code))) <= known


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Page) -> None:
    for target in page.links:
        name, _, anchor = target.partition("#")
        path = (page.path.parent / name).resolve() if name else page.path
        assert path.exists(), f"{page}: no {target}"
        if anchor:
            assert anchor in Page(path).anchors, f"{page}: no heading for {target}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_the_text_names_exist(page: Page) -> None:
    """Paths from the root of the repository, such as `benchmarks/feed.py`."""
    tops = "raysearch|search_spaces|dashboards|benchmarks|clusters|docs|tests"
    for name in re.findall(rf"`((?:{tops})/[\w./]*)`", page.prose):
        assert (ROOT / name).exists() or (page.path.parent / name).exists(), f"{page}: no {name}"


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", STUDIES, ids=str)
def test_studies_load(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "my_study.py"
    file.write_text(block.text)
    name, study = study_files.load_study(str(file))
    assert name == "my_study"
    assert study.question.endswith("?")


def test_the_readme_has_the_lines_that_ci_runs() -> None:
    lines = [block.text.splitlines() for block in PAGES[0].blocks if block.language == "console"]
    assert [len(block) for block in lines] == [1, 1]
    (first,), (second,) = lines
    assert first.endswith(" -m raysearch.sweep srem_ablation"), "flags can be appended to the sweep"
    assert second.endswith(" -m pytest -n 3")


def test_the_table_of_backbones_is_the_registry() -> None:
    page = (ROOT / "docs" / "studies.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (`.*`) \| ?(.*) \|$", page.partition("## Backbones")[2], re.MULTILINE)
    listed = [(name, *(tuple(re.findall("`([^`]+)`", cell)) for cell in cells)) for name, *cells in rows]
    specs = [BACKBONES[name] for name in BUILT_IN]
    assert listed == [(spec.name, spec.taps, spec.weights) for spec in specs]


def test_the_studies_of_the_commands_exist() -> None:
    """A command names a study that ships, or a file that a block of the same page or of README says to save."""
    saved = {block.file_name for page in PAGES for block in page.blocks}
    for command in ALL_COMMANDS:
        name, *words = command.words
        if name == "sweep" and "--list" not in words:
            assert words[0] in saved or words[0] in study_files.study_names(), command


def test_every_study_and_page_is_listed() -> None:
    studies = (ROOT / "docs" / "studies.md").read_text()
    names = study_files.study_names()
    assert [name for name in names if f"`{name}`" not in studies] == []
    assert f"lists {len(names)} studies" in " ".join(PAGES[0].text.split())
    linked = {(page.path.parent / target.partition("#")[0]).resolve() for page in PAGES for target in page.links}
    assert [str(page) for page in PAGES if page.path not in linked and page.path.name != "README.md"] == []
