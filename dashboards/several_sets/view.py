"""A run on several data sets for its report: the view of all its variants, and one view per set.

All comparisons are judged together, because they are one family. The view of a set shows its part of that judgement.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa

from dashboards.ablation.judging.judgement import Judgement
from dashboards.ablation.view import View, read_view, view
from raysearch.runs import StudyRecord


@dataclass(frozen=True)
class SetsView(View):
    """The view of a run on several data sets.

    Attributes:
        on_set: name of a data set -> the view of the study on it, whose variants have the names of a study on it alone.
    """

    on_set: Mapping[str, View] = field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, str]:
        """Return the data sets that could not be opened, with the reasons."""
        return {name: of_set.error for name, of_set in self.study.data_sets.items() if of_set.error is not None}

    def page_names(self) -> dict[str, str]:
        """Return name of a data set -> file name of its page."""
        pages: dict[str, str] = {}
        for number, name in enumerate(self.on_set, start=1):
            word = re.sub(r"[^\w-]+", "-", name, flags=re.ASCII).strip("-")[:40] or str(number)
            page = f"report-{word}.html"
            pages[name] = f"report-{word}-{number}.html" if page in pages.values() else page
        return pages


def sets_view(study: StudyRecord, table: pa.Table) -> SetsView:
    """Return the view of a run on several data sets.

    Args:
        study: the record of the run.
        table: the run's results, as `results.load` returns them.

    Raises:
        UserError: the cells must not be compared; see `statistics.compare`.
    """
    whole = view(study, table)
    on_set = {name: _on_set(whole, name) for name in whole.study.data_sets}
    return SetsView(**{entry.name: getattr(whole, entry.name) for entry in fields(View)}, on_set=on_set)


def _on_set(whole: View, name: str) -> View:
    """Return the view of the study on one of its data sets."""
    study = whole.study.on_data_set(name)
    names = whole.study.names_on(name)
    rows: list[dict[str, Any]] = [
        {**row, "variant": names[row["variant"]]} for row in whole.rows if row["variant"] in names
    ]
    judged = whole.judgement
    judgement = Judgement(
        rows={names[key]: {**row, "variant": names[key]} for key, row in judged.rows.items() if key in names},
        missing=Counter({names[key]: number for key, number in judged.missing.items() if key in names}),
        paths={names[key]: path for key, path in judged.paths.items() if key in names},
        open_names=frozenset(names[key] for key in judged.open_names if key in names),
    )
    return read_view(study, rows, judgement)
