"""The sentences below the main table: what its marks mean, its published numbers, and the reasons for its holes."""

from collections.abc import Iterable, Iterator

from dashboards.ablation.judging import rule_words
from dashboards.ablation.variant import Variant
from dashboards.html import formats
from dashboards.several_sets.view import SetsView

_MOST_HOLES = 8  # reasons below the table
_LONGEST_REASON = 160  # characters


def notes(run: SetsView, failed: Iterable[tuple[str, Variant]], has_best: bool) -> Iterator[str]:
    """Yield the sentences.

    Args:
        run: the view.
        failed: place in the table and variant, for variants whose cells failed or were stopped.
        has_best: whether the best method of some column is decided.
    """
    yield f"{formats.metric_name(run.metric)}: mean over seeds \N{PLUS-MINUS SIGN} half its 95 % interval."
    if run.study.within:
        yield f"Columns: {', '.join(run.study.within)}."
    yield (
        "An arrow up: better than the reference of the column, paired by seed; an arrow down: worse. "
        f"Holm's correction covers all {formats.count(run.comparisons[1], 'comparison')} on all data sets."
    )
    if run.is_provisional:
        yield "Not all planned cells have ended, so nothing is marked."
    elif run.study.looks:
        yield "The best of a column is not marked in a study with looks."
    elif has_best:
        yield "Bold: the best of its column, decided against every other method."
    else:
        yield "No column has a method that is decided to be better than every other one."
    papers = [view.published.paper for view in run.on_set.values() if view.published is not None]
    if papers:
        yield f"In brackets: published ({'; '.join(cite_together(papers))})."
        without = [name for name, view in run.on_set.items() if view.published is None]
        if without:
            yield f"No published numbers: {formats.listed(without)}."
    if rule_notes := rule_words.as_sentences(rule_words.table_notes(run)):
        yield rule_notes
    yield from _hole_notes(run, failed)


def cite_together(papers: Iterable[str]) -> list[str]:
    """Return citations; those that differ only behind the last comma are joined.

    >>> cite_together(["FCAENet, table 1, CUB", "FCAENet, table 1, NABirds", "Other, table 2"])
    ['FCAENet, table 1, CUB and NABirds', 'Other, table 2']
    """
    endings: dict[str, list[str]] = {}
    for paper in dict.fromkeys(papers):
        source, comma, ending = paper.rpartition(", ")
        endings.setdefault(source + comma, []).append(ending)
    return [source + formats.listed(names, most=len(names)) for source, names in endings.items()]


def _hole_notes(run: SetsView, failed: Iterable[tuple[str, Variant]]) -> Iterator[str]:
    """Yield the reasons for holes, those of whole data sets first."""
    for name, error in run.left_out.items():
        yield f"{name} could not be opened: {_short(error)}."
    names_by_error: dict[str, list[str]] = {}
    for place, variant in failed:
        error = next((str(cell["error"]) for cell in variant.rows if cell.get("error")), "no error")
        names_by_error.setdefault(_short(error), []).append(place)
    for error, names in list(names_by_error.items())[:_MOST_HOLES]:
        yield f"{formats.listed(names, most=4)} failed: {error}."
    if len(names_by_error) > _MOST_HOLES:
        yield f"{len(names_by_error) - _MOST_HOLES} more errors are in the section on cells without a result."


def _short(error: str) -> str:
    line = (error.strip().splitlines() or [""])[-1].rstrip(".")
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}\N{HORIZONTAL ELLIPSIS}"
