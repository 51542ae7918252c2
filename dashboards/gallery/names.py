"""What classes and variants are called on a page."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dashboards.ablation import view
from dashboards.html.markup import Markup, escape
from raysearch.runs.study_record import StudyRecord


class Names(NamedTuple):
    """
    >>> from raysearch.runs.study_record import VariantRecord
    >>> study = StudyRecord(study="s", variants=[VariantRecord(name="size=5", settings={"size": 5})], cells=[])
    >>> Names.of(study, ["wren"]).variant("size=5")
    'size=5'
    """

    classes: Sequence[str]  # by label
    variants: Mapping[str, str]  # name -> label, with sizes as run and as declared

    @classmethod
    def of(cls, study: StudyRecord, classes: Sequence[str]) -> "Names":
        """The names of a run, from what `study.json` holds and from its data set."""
        labels = {one.name: view.label(one.name, one.settings, one.declared) for one in study.variants}
        return cls(classes, labels)

    def breakable(self, label: int) -> Markup:
        """A class's name, which may break where words are joined."""
        return Markup(escape(self.classes[label]).replace("_", "_<wbr>"))

    def variant(self, name: str) -> str:
        return self.variants.get(name, name)
