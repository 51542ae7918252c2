"""What a study has planned: its variants, and their cells."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from raysearch.runs.study_record.fields import NestedConfig, Record, Settings, null_as_empty_list


class LevelsRecord(Record):
    """Levels of the factors, by path.

    Attributes:
        settings: as the cells ran.
        declared: as the study file declares them, with sizes in pixels of a 224 px image.
    """

    settings: Settings = {}
    declared: Settings = {}

    @property
    def levels(self) -> dict[str, Any]:
        """The declared level of each factor, or the level as run if none is declared."""
        return {**self.settings, **self.declared}


class VariantRecord(LevelsRecord):
    """A variant, in a study on several data sets on one of them. `also` has other levels that give the same config."""

    name: str
    config: NestedConfig = {}
    data_set: str | None = None  # name of its data set, in a study on several
    also: Annotated[list[LevelsRecord], BeforeValidator(null_as_empty_list)] = []


class CellRecord(Record):
    """A planned cell. A search has two stages: "search" and "judge"; an explanation has "choose" and "judge"."""

    cell: str  # its hash
    variant: str
    seed: int
    stage: str | None = None
