"""Read the pages of the documentation: their blocks of code, the raysearch commands in them, and their links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"<!-- needs a (cluster|GPU) -->")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and whether only a cluster or a GPU can run it."""

    page: Path
    language: str
    text: str
    line: int
    marked: bool

    @property
    def file_name(self) -> str | None:
        """The name in a first line such as `# my_study.py`: the file that a reader is to save."""
        match = re.match(r"# ([\w./]+\.py)\n", self.text)
        return match[1] if match else None

    @property
    def commands(self) -> list["Command"]:
        """The raysearch commands of a shell block, in order."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        return [command for line in _shell_lines(joined) for command in _raysearch_commands(line, self)]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One call of raysearch on a page: `words` begins with the subcommand, for example `sweep`."""

    words: tuple[str, ...]
    block: Block

    def __str__(self) -> str:
        return f"{self.block}: raysearch {shlex.join(self.words)}"


@dataclass(frozen=True)
class Page:
    """A Markdown file."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @cached_property
    def blocks(self) -> list[Block]:
        blocks = []
        for match in _FENCE.finditer(self.text):
            before = self.text[: match.start()]
            marked = MARK.search(before.rstrip().rsplit("\n", 1)[-1]) is not None
            blocks.append(Block(self.path, match[1], match[2], before.count("\n") + 1, marked))
        return blocks

    @cached_property
    def commands(self) -> list[Command]:
        return [command for block in self.blocks if block.language in ("bash", "console") for command in block.commands]

    @cached_property
    def anchors(self) -> set[str]:
        """The names that GitHub gives to the headings."""
        headings = re.findall(r"^#+ (.*)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    @cached_property
    def links(self) -> list[str]:
        """Targets of links and pictures, without those that lead to other sites."""
        targets = re.findall(r"\]\(([^)\s]+)\)", self.prose)
        return [target for target in targets if "://" not in target]

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


def all_pages() -> list[Page]:
    paths = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
    return [Page(path) for path in [*paths, *sorted((ROOT / "docs").rglob("*.md"))]]


def _shell_lines(text: str) -> Iterator[str]:
    """Yield logical lines: a quoted word may go over several."""
    waiting = ""
    for line in text.splitlines():
        waiting = f"{waiting} {line}" if waiting else line
        try:
            shlex.split(waiting, comments=True)
        except ValueError:
            continue
        yield waiting
        waiting = ""


def _raysearch_commands(line: str, block: Block) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    part: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";&|"):
            words = _after_program(part)
            if words:
                yield Command(tuple(words), block)
            part = []
        else:
            part.append(word)


def _after_program(words: list[str]) -> list[str]:
    """Return the words after `raysearch`, or after `python -m raysearch.`, with the subcommand first."""
    for index, word in enumerate(words):
        if word == "raysearch" and (index == 0 or words[index - 1] == "--"):
            return words[index + 1 :]
        if word == "-m" and words[index + 1].startswith("raysearch."):
            return [words[index + 1].removeprefix("raysearch."), *words[index + 2 :]]
    return []
