"""Names from elsewhere are shown whole and harmless: in every encoding, in terminals of every width."""

import io
import json
import os
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from raysearch.core import cli
from raysearch.core.console import Console, TerminalColumn, TerminalTable, open_console, table_of_rows

HOSTILE = (
    "\x1b]52;c;cm0gLXJm\x07",  # writes to the clipboard
    "\x1b[2J\x1b[31mred",
    "\x9b31m",  # the one-byte form of an escape sequence
    "gnp\u202egpj.exe",
    "\u2066isolate\u2069",
    "a\x08\x08b\rc",
    "lone \udcff byte",
    "[red]markup[/red]",
    "[/closes nothing]",
    "[link=file:///etc]x[/link]",
    ":smile:",
    "\\[escaped]",
    "{format} %s",
    "日本",
)
DANGEROUS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printed(renderable: object, width: int = 100, encoding: str = "utf-8", **options: str) -> str:
    """What a console writes, decoded; a character that cannot be encoded would raise."""
    buffer = io.BytesIO()
    console = Console(file=io.TextIOWrapper(buffer, encoding=encoding, errors="strict"), width=width)
    console.print(renderable, **options)
    console.file.flush()
    return buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "cp1252", "shift_jis"])
@pytest.mark.parametrize("name", HOSTILE)
def test_every_way_to_print_a_name_is_harmless(name: str, encoding: str) -> None:
    table = table_of_rows(("number", "name"), [("1", name)], names=("name",), title=name, note=name)
    column = TerminalColumn(name, [name], "name")
    framed = TerminalTable([column], title=name, note=name, frame="full")
    for renderable in (name, Text(name), table, framed, TerminalTable([column], frame="light")):
        for options in ({}, {"style": "yellow"}):
            assert not DANGEROUS.search(printed(renderable, encoding=encoding, **options))
    if name.isprintable() and encoding == "utf-8":
        for renderable in (name, Text(name), table, framed):
            assert name in printed(renderable)


def folded(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.text(st.sampled_from("abcdé日-/._"), min_size=1, max_size=60), st.integers(0, 10**6)),
        min_size=1,
        max_size=4,
    ),
    extra=st.integers(0, 7),
    width=st.integers(20, 120),
    frame=st.sampled_from(["full", "light", "none"]),
)
def test_names_are_kept_at_every_width(rows: list[tuple[str, int]], extra: int, width: int, frame: str) -> None:
    """The names can be put together again from their lines, and no line is wider than the terminal."""
    names = TerminalColumn("name", [name for name, _ in rows], "name")
    numbers = [str(number) for _, number in rows]
    columns = [names, *(TerminalColumn(f"column {index}", numbers, "number") for index in range(extra))]
    lines = printed(TerminalTable(columns, frame=frame), width).splitlines()
    cells = [re.sub(r"^[│┃ ]*(.*?)[│┃ ]*$", r"\1", line) for line in lines]
    shown = "".join(re.split(r"[│┃]| {2,}| (?=\d)", cell)[0] for cell in cells)
    for name, _ in rows:
        assert folded(name) in folded(shown)
    wide = [sum(1 + (unicodedata.east_asian_width(sign) in "WF") for sign in line.rstrip()) for line in lines]
    assert max(wide) <= width


def test_columns_that_do_not_fit_are_named() -> None:
    columns = [TerminalColumn("variant", ["srem.regions=100, srem.size=64"], "name")]
    columns += [TerminalColumn(title, ["0.612 [0.60, 0.62]"], "number") for title in ("mean", "difference", "seeds")]
    table = TerminalTable(columns)
    assert "too narrow" not in printed(table, 120)
    narrow = printed(table, 40)
    assert "too narrow for: difference, seeds" in " ".join(narrow.split())
    assert "0.612 [0.60, 0.62]" in narrow  # the first column of numbers still fits
    assert "srem.regions" in narrow


@pytest.mark.parametrize(
    ("columns", "width"), [(None, 140), ("0", 140), ("1", 20), ("40", 40), ("200", 200), ("wide", 140), ("-3", 140)]
)
def test_the_width_of_a_log(columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert open_console().width == width


PROGRAM = """
import typer
from raysearch.core import cli, UserError
app = typer.Typer()
@app.command()
def main(word: str, how: str = "print"):
    "A command: ± 日本."
    if how == "error":
        raise UserError(f"no such {word}")
    if how == "json":
        cli.print_json({"name": word, "more": "日本 é \\x1b \\x9b \\u202e \\U0001f600"})
    elif how == "warn":
        cli.warn(word)
    elif how == "many":
        for number in range(100_000):
            cli.console().print(word) if number % 1000 == 0 else print(word)
    else:
        cli.console().print(word)
if __name__ == "__main__":
    cli.run(app)
"""
LOCALES = (
    {},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "utf-16"},
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)


def run_program(
    tmp_path: os.PathLike[str], arguments: list[bytes], locale: dict[str, str], **options: object
) -> subprocess.CompletedProcess[bytes]:
    path = os.path.join(tmp_path, "program.py")
    with open(path, "w", encoding="utf-8") as file:
        file.write(PROGRAM)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))
    }
    command = [sys.executable, path, *arguments]
    return subprocess.run(
        command, env=environment | locale, check=False, timeout=60, **({"capture_output": True} | options)
    )


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("name", [b"caf\xe9", "日本".encode(), b"\x1b[31m", b"\xff\xfe"])
def test_any_name_in_any_locale(tmp_path: os.PathLike[str], name: bytes, locale: dict[str, str]) -> None:
    encoding = locale.get("PYTHONIOENCODING", "utf-8")
    for how in ("print", "json", "warn", "error", "help"):
        arguments = [b"--help"] if how == "help" else [name, b"--how", how.encode()]
        made = run_program(tmp_path, arguments, locale)
        assert made.returncode == (2 if how == "error" else 0), made.stderr
        assert b"Traceback" not in made.stderr
        for text in (made.stdout.decode(encoding), made.stderr.decode(encoding)):
            assert not DANGEROUS.search(text)
        if how == "json":
            got = json.loads(made.stdout.decode(encoding))
            assert os.fsencode(got["name"]) == name
            assert got["more"] == "日本 é \x1b \x9b \u202e \U0001f600"
        if how == "print" and name == "日本".encode() and not {"PYTHONUTF8", "PYTHONIOENCODING"} & set(locale):
            assert name in made.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("how", ["print", "json", "many", "help"])
def test_an_output_that_is_full_is_one_line(tmp_path: os.PathLike[str], how: str) -> None:
    arguments = [b"--help"] if how == "help" else [b"word", b"--how", how.encode()]
    with open("/dev/full", "wb") as full:
        made = run_program(tmp_path, arguments, {}, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert made.returncode == 2
    assert made.stderr == b"error: No space left on device; free some space, or write to another place\n"


def test_a_reader_that_leaves_ends_the_command_quietly(tmp_path: os.PathLike[str]) -> None:
    run_program(tmp_path, [b"word"], {})  # writes the program
    command = f"{sys.executable} {tmp_path}/program.py word --how many"
    made = subprocess.run(
        ["bash", "-c", f"{command} | head -1; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=False
    )
    assert made.stdout.split() == ["word", "1"]
    assert made.stderr == ""


def test_an_error_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.exit_with_error("two\nlines\r\nand \x1b[31m")
    assert capsys.readouterr().err == "error: two lines and \\u001b[31m\n"
