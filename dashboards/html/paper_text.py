"""Texts in tables for papers: what LaTeX and GitHub's Markdown would act on is escaped, and nothing is lost.

LaTeX: after a row's end, `[` would be read as a length and `*` as a starred command; `--` is a ligature; `"` is a
command of babel; spaces at both ends vanish. pdfLaTeX knows few signs beyond those of European languages and stops at
others, so it gets their code in brackets. LuaLaTeX and XeLaTeX get the signs, and need a font that has them.
Markdown: besides the syntax GitHub links names, issues and addresses, and replaces emoji codes. It does so after
Markdown was read, so a backslash does not help; an element around the first character does.
"""

import re
import unicodedata

from dashboards.html import formats
from raysearch.core.sanitize import escape_controls

_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': '"{}',
    formats.MINUS: "$-$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
    "\N{NOT EQUAL TO}": r"$\neq$",
    "\N{ALMOST EQUAL TO}": r"$\approx$",
    "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    "\N{INFINITY}": r"$\infty$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{NO-BREAK SPACE}": "~",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{BLACK UP-POINTING TRIANGLE}": r"$\blacktriangle$",
    "\N{BLACK DOWN-POINTING TRIANGLE}": r"$\blacktriangledown$",
    "\N{BLACK CIRCLE}": r"$\bullet$",
    "\N{WHITE CIRCLE}": r"$\circ$",
    "\N{WHITE DIAMOND}": r"$\diamond$",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
}
_LIGATURE = re.compile(r"-(?=-)|'(?=')|`(?=`)|[!?](?=`)|,(?=,)")
_LOST_SPACE = re.compile("^ | $|(?<= ) ")
_GREEK_CAPITALS = "ΓΔΘΛΞΠΣΥΦΨΩ"
# Signs that pdfLaTeX has in its default encoding, since 2020: most of Latin-1 and Latin Extended-A, and punctuation.
_KNOWN = {chr(code) for code in (*range(0xA1, 0x17F), *range(0x218, 0x21C))} | set(
    "\u2013\u2014\u2018\u2019\u201c\u201d\u2026\u2030\u20ac\u2122"
)
_KNOWN -= set("ÐðÞþĐđĦħĸĿŀŉŊŋŦŧĄąĘęĮįŲų«»")

_MARKDOWN = re.compile(
    r"""(?P<entity>[&<>])
    | (?P<mark>[\\|*`\[\]~] | (?<![^\W_])_ | _(?![^\W_]))                     # an underscore within a word is inert
    | (?P<after>(?<!\w)[@](?=\w) | [@](?=[\w-]+\.\w)
        | [#](?=\d) | (?<=\bGH)-(?=\d) | [$] | :(?=//) | :(?=[\w+-]+:) | (?<=\bwww)\.)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def tex(text: str) -> str:
    r"""Return text in which LaTeX reads no command, for a cell of a table.

    >>> print(tex("srem.size=5 & 100%"), tex("[a] --b"), tex("\N{GREEK SMALL LETTER ALPHA}"))
    srem.size=5 \& 100\% {[}a] -{}-b $\alpha$
    """
    line = _LOST_SPACE.sub("\N{SYMBOL FOR SPACE}", _one_line(text))
    escaped = _LIGATURE.sub(r"\g<0>{}", "".join(_TEX.get(sign) or _greek(sign) or _sign(sign) for sign in line))
    return re.sub(r"^[\[*]", r"{\g<0>}", escaped).replace("\N{SYMBOL FOR SPACE}", r"\ ")


def markdown_text(text: str) -> str:
    r"""Return text that GitHub shows as it is, in a cell of a table or as a line of its own.

    >>> print(markdown_text("a|b [c](d) <e>"), markdown_text("@name :+1: #12 __init__ 1_000"))
    a\|b \[c\](d) &lt;e&gt; <span>@</span>name <span>:</span>+1: <span>#</span>12 \_\_init\_\_ 1_000
    """
    line = _LOST_SPACE.sub("\N{NO-BREAK SPACE}", _one_line(text))
    escaped = _MARKDOWN.sub(_escape_markdown, line)
    return re.sub(r"^(\d+)([.)])(?=\s|$)|^([-+=#])", _escape_start, escaped).replace("\N{NO-BREAK SPACE}", "&nbsp;")


def _one_line(text: str) -> str:
    return escape_controls(re.sub(r"[\t\r\n\v\f]+", " ", text))


def _greek(sign: str) -> str | None:
    """Return the math command of a Greek letter that looks like no Latin one."""
    name = unicodedata.name(sign, "").removeprefix("GREEK ")
    letter = {"LAMDA": "LAMBDA", "FINAL SIGMA": "VARSIGMA"}.get(name.rpartition("LETTER ")[2], name.rpartition(" ")[2])
    if re.fullmatch(r"SMALL LETTER (FINAL )?[A-Z]+", name) and letter != "OMICRON" and "\u03b1" <= sign <= "\u03c9":
        return f"$\\{letter.lower()}$"
    return f"$\\{letter.capitalize()}$" if sign in _GREEK_CAPITALS else None


def _sign(sign: str) -> str:
    """Return a sign as it is, or for an engine that does not know it its code."""
    if sign.isascii() or sign in _KNOWN or sign == "\N{SYMBOL FOR SPACE}":
        return sign
    return rf"\ifdefined\Umathchar {sign}\else [U+{ord(sign):04X}]\fi{{}}"


def _escape_markdown(match: re.Match[str]) -> str:
    sign = match[0]
    if match.lastgroup == "entity":
        return _ENTITIES[sign]
    return f"\\{sign}" if match.lastgroup == "mark" else f"<span>{sign}</span>"


def _escape_start(match: re.Match[str]) -> str:
    """Escape what would start a list, a heading or a rule."""
    return f"{match[1]}\\{match[2]}" if match[1] else f"\\{match[0]}"
