"""What all configs have in common: frozen sections without unknown fields, numbers finite, every field described."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from pydantic import Field as _Field


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def setting(default: Any, description: str, **limits: Any) -> Any:
    """A field of a section.

    Args:
        default: its value where nobody says otherwise.
        description: what it changes, and why the default is what it is; `raysearch.train TASK --settings` prints it.
        limits: of pydantic's `Field`: ge, gt, le, lt, json_schema_extra.
    """
    return _Field(default, description=description, **limits)


Counts = Mapping[str, Sequence[int]]


class Images(NamedTuple):
    """Which images a run works on: decoded once for all runs that ask for the same."""

    side: int  # pixels
    zoom: float
    split: str | None  # name or file of a class-disjoint split; None: the data set's own rows


class RunConfig(Section):
    """The config of a run; every task has a class of its own."""

    task: str

    @property
    @abstractmethod
    def images(self) -> Images:
        """What its images are."""

    @property
    @abstractmethod
    def trunk(self) -> tuple[str, str | None]:
        """Name of its backbone, and the weights that it starts from."""

    @property
    @abstractmethod
    def identities(self) -> Mapping[str, str | None]:
        """Dotted path -> what its value stands for, of paths that may name a file: that counts by what it holds."""

    @abstractmethod
    def canonical(self) -> dict[str, Any]:
        """The config without what cannot matter, so that two ways of writing one run have one name."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """How many steps of training a scheduler may stop it after."""

    @property
    def epochs(self) -> int:
        """How many epochs those steps have."""
        return self.steps

    @property
    def holds_out(self) -> bool:
        """Whether a part of the data is there to choose by."""
        return True

    @abstractmethod
    def chance(self, counts: Counts) -> float:
        """What guessing would score on the test split."""

    def check(self, name: str, classes: Sequence[str], counts: Counts) -> None:
        """Raise a UserError for a data set that no run can be made of.

        Args:
            name: of the data set.
            classes: their names.
            counts: split -> images of each class.
        """

    def starts_from(self, seed: int) -> "tuple[RunConfig, int] | None":
        """Config and seed of the run whose trunk this one, with this seed, starts from; None where there is none."""
        return None
