"""docs/architecture.md describes the code as it is: the tree, the direction of imports, and the names in the walks."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .pages import ROOT, Page

PAGE = Page(ROOT / "docs" / "architecture.md")
# From the ground up. Folders of one row do not import each other.
LAYERS = [
    ("core",),
    ("storage",),
    ("data", "models"),
    ("studies",),
    ("runs",),
    ("messages", "tasks"),
    ("inference", "inspection", "testing"),
    ("dashboards",),
    ("engine",),
    ("api",),
]
# The public address of the results, and the studies that ship with raysearch, which are found by name.
EXCEPTIONS = {("raysearch/studies/results.py", "runs")}


def layer_of(module: str) -> str:
    """Return the folder that a module belongs to, such as `data`; a command is its own."""
    parts = module.split(".")
    return parts[1] if parts[0] == "raysearch" and len(parts) > 1 else parts[0]


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of ours that a file imports, at its top or in a function; for type checkers alone left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            package = node.module == "raysearch"
            yield from (f"raysearch.{alias.name}" for alias in node.names) if package else (node.module,)


def test_imports_point_down() -> None:
    rank = {folder: number for number, row in enumerate(LAYERS) for folder in row}
    upward = []
    for folder, number in rank.items():
        top = ROOT / folder if folder == "dashboards" else ROOT / "raysearch" / folder
        for path in sorted(top.rglob("*.py")):
            name = str(path.relative_to(ROOT))
            for module in imports(path):
                target = layer_of(module)
                ours = module.split(".")[0] in ("raysearch", "dashboards")
                if ours and target in rank and target != folder and rank[target] >= number:
                    upward.append((name, target))
    assert set(upward) == EXCEPTIONS


def test_the_table_of_layers_is_complete() -> None:
    rows = re.findall(r"^\| (`.*`) \|", PAGE.text, re.MULTILINE)
    listed = [tuple(sorted(re.findall(r"`(\w+)`", row))) for row in rows]
    assert listed == [tuple(sorted(row)) for row in reversed(LAYERS)]


def test_the_tree_is_the_tree() -> None:
    """Each folder of the page exists, and each folder of the packages is on the page."""
    (tree,) = [block for block in PAGE.blocks if block.text.startswith("raysearch/ ")]
    listed, above = set(), []
    for line in tree.text.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        above = [*above[:depth], line.split()[0].rstrip("/")]
        listed.add("/".join(above))
    assert [name for name in sorted(listed) if not (ROOT / name).is_dir()] == []
    packages = [path.parent for top in ("raysearch", "dashboards") for path in (ROOT / top).rglob("__init__.py")]
    folders = {str(path.relative_to(ROOT)) for path in packages}
    assert {name for name in folders if name.count("/") < 3} - listed == set()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"[\w/]+\.py:[\w.]+", PAGE.text))))
def test_the_walks_name_what_exists(name: str) -> None:
    file, _, definition = name.partition(":")
    (path,) = [path for path in (ROOT / file, ROOT / "raysearch" / file) if path.is_file()]
    scope: list[ast.stmt] = ast.parse(path.read_text()).body
    for part in definition.split("."):
        found = [node for node in scope if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part]
        assert found, f"{file} defines no {definition}"
        scope = found[0].body
