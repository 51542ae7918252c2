"""Count the lines of one study, written for raysearch and by hand for Ray Tune, Optuna and Lightning.

    python benchmarks/lines_of_code.py [--quick]

Every program of `benchmarks/comparison/` trains the same network on the same images, 4 variants with 5 seeds. Each
continues after a kill, and ends with a table of paired differences with intervals and Holm's correction. Lines of code
count: no blank lines, comments or docstrings. What all programs share, `digits.py`, is not counted. The table that the
other programs need, `paired_table.py`, is counted with each of them. raysearch also gives what no other program has
here: a page with learning curves and cost, checks before the run, and names of cells that follow the code. Nothing is
run. The last line is JSON: the lines of each program over those of raysearch, and the lines.
"""

import ast
from pathlib import Path

from script import make_parser, print_figures

FOLDER = Path(__file__).parent / "comparison"
TABLE = "paired_table.py"
PROGRAMS = {
    "raysearch": ["by_raysearch.py"],
    "ray_tune": ["by_ray_tune.py", TABLE],
    "optuna": ["by_optuna.py", TABLE],
    "lightning": ["by_lightning.py", TABLE],
}


def count_lines(source: str) -> int:
    """Return the number of lines with code.

    >>> count_lines('# a comment' + chr(10) + 'x = 1  # a value' + chr(10))
    1
    """
    tree = ast.parse(source)
    documentation = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            documentation |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(source.splitlines(), start=1)
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and at not in documentation for at, line in lines
    )


def main() -> None:
    """Run the benchmark."""
    make_parser(__doc__, quick="the same: nothing is run").parse_args()
    lines = {}
    print(f"{'program':10} {'study':>6} {'table':>6} {'lines':>6} {'ratio':>6}")
    for name, files in PROGRAMS.items():
        counts = [count_lines((FOLDER / file).read_text(encoding="utf-8")) for file in files]
        lines[name] = sum(counts)
        ratio = lines[name] / lines["raysearch"]
        print(f"{name:10} {counts[0]:>6} {sum(counts[1:]):>6} {lines[name]:>6} {ratio:>6.1f}")
    ratios = {f"{name}_over_raysearch": lines[name] / lines["raysearch"] for name in PROGRAMS if name != "raysearch"}
    print_figures({**ratios, "lines": lines})


if __name__ == "__main__":
    main()
