"""The source files that a user's module consists of: itself, and the modules of its folder that it imports.

Imports are read from the source; nothing is run. A module that is imported by a computed name is not seen.
"""

import ast
import hashlib
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from raysearch.core.errors import UserError

_STUDY = "study"  # the name that a study file assigns its study to
_PACKAGE = "raysearch"


def read_sources(root: Path, entry: PurePosixPath, package: str | None = None) -> dict[str, str]:
    """Return the text of a module and of the modules below `root` that it imports, directly or through others.

    Args:
        root: the folder that absolute imports start from.
        entry: the module's file, relative to `root`.
        package: only files of this folder below `root`, where `root` holds many packages; None: all of them.

    Returns:
        Path relative to `root`, with forward slashes -> source text, sorted by path.

    Raises:
        UserError: a file that is not there, is not text, or has a syntax error.
    """
    texts: dict[str, str] = {}
    waiting = [entry, *_packages_above(entry)]
    while waiting:
        path = waiting.pop()
        name = str(path)
        file = root / path
        if name in texts or (path.name == "__init__.py" and not file.is_file()):
            continue
        if package is not None and path != entry and path.parts[0] != package:
            continue
        texts[name] = _read_text(file)
        waiting += _imported_files(root, path, _parse(texts[name], file))
    return dict(sorted(texts.items()))


def source_digest(texts: Mapping[str, str]) -> str:
    """Return a digest of source files that comments, docstrings and empty lines do not change.

    A study file holds the study too. Its `study = ...` and its imports from raysearch are left out, so that a further
    level or another question makes no new cells.

    Args:
        texts: path -> source text.

    Returns:
        64 hexadecimal digits.

    >>> source_digest({"a.py": "x = 1  # one"}) == source_digest({"a.py": "# a comment\\nx = 1\\n"})
    True
    """
    digest = hashlib.sha256()
    for path, text in sorted(texts.items()):
        digest.update(f"{path}\0{normalize_source(text)}\0".encode())
    return digest.hexdigest()


def normalize_source(text: str) -> str:
    """Return the lines of a source file that decide what it computes.

    Left out are comments, empty lines, docstrings, the study, and imports from raysearch.
    """
    lines, in_strings = _without_comments(text)
    tree = ast.parse(text)
    left_out = [node for node in tree.body if _defines_study(node) or _imports_package(node)]
    for node in [*left_out, *_docstrings(tree)]:
        end = node.end_lineno or node.lineno
        before = lines[node.lineno - 1].encode()[: node.col_offset]
        after = lines[end - 1].encode()[node.end_col_offset :]
        if not before.strip() and not after.strip():  # whole lines
            for number in range(node.lineno - 1, end):
                lines[number] = ""
                in_strings.discard(number)
    kept = (
        line if number in in_strings else line.rstrip()
        for number, line in enumerate(lines)
        if number in in_strings or line.strip()
    )
    return "\n".join(kept)


def _docstrings(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and type(first.value.value) is str:
                yield first


def _without_comments(text: str) -> tuple[list[str], set[int]]:
    """Return the lines of a source text without comments, and the numbers of those that end inside a text."""
    lines = text.split("\n")
    in_strings: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column]
        elif token.end[0] > row and token.type not in (tokenize.NEWLINE, tokenize.NL):
            in_strings |= set(range(row - 1, token.end[0] - 1))
    return lines, in_strings


def _defines_study(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == _STUDY for target in targets)


def _imports_package(node: ast.stmt) -> bool:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
    names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    return bool(names) and all(name.split(".")[0] == _PACKAGE for name in names)


def _read_text(file: Path) -> str:
    try:
        with tokenize.open(file) as opened:  # honors a coding line
            return opened.read()
    except FileNotFoundError:
        raise UserError(f"no file '{file}'") from None
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"'{file}' cannot be read: {error}") from None


def _parse(text: str, file: Path) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise UserError(f"'{file}' does not run: SyntaxError: {error.msg} (line {error.lineno})") from None
    except ValueError as error:
        raise UserError(f"'{file}' does not run: {error}") from None


def _imported_files(root: Path, path: PurePosixPath, tree: ast.Module) -> Iterator[PurePosixPath]:
    """Yield the files below `root` that the import statements of a module name, with their packages."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names: Iterable[str] = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _imported_from(path, node)
            if base is None:
                continue
            names = [base, *(f"{base}.{alias.name}" if base else alias.name for alias in node.names)]
        else:
            continue
        for name in names:
            if name.partition(".")[0] not in sys.stdlib_module_names or _is_relative(node):
                yield from _files_of_module(root, name)


def _is_relative(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and bool(node.level)


def _imported_from(path: PurePosixPath, node: ast.ImportFrom) -> str | None:
    """Return the dotted module that a `from` statement imports from; None for one above the root."""
    if not node.level:
        return node.module
    folders = list(path.parent.parts)
    if node.level - 1 > len(folders):
        return None
    package = folders[: len(folders) - (node.level - 1)]
    return ".".join([*package, *([node.module] if node.module else [])])


def _files_of_module(root: Path, name: str) -> Iterator[PurePosixPath]:
    """Yield the file of a dotted module below `root` and those of its packages; nothing for a module from elsewhere."""
    parts = [part for part in name.split(".") if part]
    for count in range(1, len(parts) + 1):
        place = PurePosixPath(*parts[:count])
        for candidate in (place / "__init__.py", place.with_suffix(".py") if place.name else place):
            if (root / candidate).is_file():
                yield candidate
                break


def _packages_above(entry: PurePosixPath) -> list[PurePosixPath]:
    return [folder / "__init__.py" for folder in entry.parents if folder.parts]
