"""Texts for papers come back as they were, from a plain reader of LaTeX and from a parser of Markdown."""

import html
import itertools
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dashboards.html import Column, Table
from dashboards.html.paper_text import markdown_text, tex

NAMES = st.text(
    st.sampled_from("ab1 []*-'`,!?\"~^_{}\\&%$#<>|@:.()+=/wGH\u2212\u2264\u03b1\u0394\xe9\u65e5\n\t"), max_size=12
)
ODD = (
    "[a]", "[2pt]", "*", "* a", " a ", "a  b", "--", "---x", "''", "``", "?`", "!`", ",,", '"a"', '"', "50%", "a_b",
    "\\", "\\\\", "\\newpage", "$x$", "#1", "{", "}", "~", "<<a>>", "a|b", "\u22120.1", "x \u2264 1", "caf\xe9",
)  # fmt: skip
COMMANDS = {
    "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">",
    "textbar": "|",
}  # fmt: skip
MATH = {"-": "\u2212", "\\leq": "\u2264", "\\alpha": "\u03b1", "\\Delta": "\u0394", "\\geq": "\u2265"}


def read_latex(text: str) -> str:
    """Read a cell as LaTeX does: commands, braces, math; a character with a meaning of its own is an error."""
    shown = ""
    while text:
        if match := re.match(r"\\ifdefined\\Umathchar (.)\\else \[U\+([0-9A-F]{4,})\]\\fi\{\}", text):
            assert int(match[2], 16) == ord(match[1])
            shown += match[1]
        elif match := re.match(r"\\([a-z]+)\{\}", text):
            shown += COMMANDS[match[1]]
        elif match := re.match(r"\\([{}$&#_% ])", text):
            shown += match[1]
        elif match := re.match(r"\$([^$]+)\$", text):
            shown += MATH[match[1]]
        elif match := re.match(r"\{([\[*])\}|\{\}", text):
            shown += match[1] or ""
        elif match := re.match(r"--|''|``|[!?]`|,,|\"(?!\{\})|[\\{}$&#_%~^<>|]", text):
            raise AssertionError(f"LaTeX acts on {match[0]!r} in {text!r}")
        else:
            match = re.match(r".", text)
            shown += match[0]
        text = text[match.end() :]
    return shown


@settings(max_examples=300, deadline=None)
@given(NAMES)
@example("[a]")
def test_latex_shows_the_text(name: str) -> None:
    escaped = tex(name)
    assert read_latex(escaped) == re.sub(r"[\n\t]+", " ", name)
    assert not re.search(r"^ | $|  ", escaped.replace(r"\ ", "x")), "LaTeX drops these spaces"
    assert not escaped.startswith(("[", "*"))


@pytest.mark.parametrize("name", ODD)
def test_no_name_changes_the_rows_of_a_latex_table(name: str) -> None:
    columns = [Column(name, lambda row: row, "name"), Column("n", lambda row: row, "text")]
    lines = Table(columns, [name, name], ends_section=lambda row: True).to_latex().splitlines()
    start = re.compile(r"\s*[\[*]")
    for line, following in itertools.pairwise(lines):
        if line.endswith((r"\\", "rule")):
            assert not start.match(following), "read as the argument of the line before"
    assert sum(line.endswith(r" \\") for line in lines) == 3
    assert all(read_latex(line.partition(" & ")[0]) for line in lines if line.endswith(r" \\"))


@settings(max_examples=300, deadline=None)
@given(NAMES)
def test_github_shows_the_text_in_a_cell(name: str) -> None:
    table = Table([Column("variant", lambda row: row, "name"), Column("n", lambda row: "1", "text")], [name], note=name)
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(table.to_markdown())
    cell, second = re.findall(r"<td>(.*?)</td>", page, re.DOTALL)
    assert second == "1"
    check_shown(cell, name)
    if name.strip():
        check_shown(page.rpartition("<p>")[2].partition("</p>")[0], name)


def check_shown(element: str, name: str) -> None:
    """The text is the name's, and GitHub's filters find nothing in any stretch of text between elements."""
    texts = [html.unescape(text) for text in re.split(r"</?span>", element)]
    assert not re.search(r"<", element.replace("<span>", "").replace("</span>", "")), "an element that nobody wrote"
    shown = "".join(texts).replace("\xa0", " ")
    assert shown == re.sub(r"[\n\t]+", " ", name)
    for text in texts:
        assert not re.search(
            r"(?<!\w)@\w|\w@\w+\.\w|#\d|\bGH-\d|:[\w+-]+:|https?://|\bwww\.|\$[^$]+\$", text, re.IGNORECASE
        )


@pytest.mark.parametrize(
    "name",
    [
        "@octocat", "#12", "GH-3", ":+1:", ":smile:", "https://a.b", "http://a.b", "www.a.b", "me@a.b", "$x$ $y$",
        "&amp;", "&#64;", "<b>", "<!-- x", "a|b", "`code`", "**bold**", "_it_", "__init__", "~~gone~~", "~x~", "[a](b)",
        "![a](b)", "1. one", "1) one", "# head", "- item", "+ item", "> quote", "***", "---", "===",
        "\\|", " a ", "a  b",
        "ftp://x", "map@all/x",
    ],
)  # fmt: skip
def test_what_github_acts_on(name: str) -> None:
    test_github_shows_the_text_in_a_cell.hypothesis.inner_test(name)
    assert "\n" not in markdown_text(name)
