"""The types of the values in `study.json`, and the base of its records."""

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

Mode = Literal["max", "min"]


def null_as_empty(value: Any) -> Any:
    """Return an empty mapping for null, which earlier versions wrote."""
    return {} if value is None else value


def null_as_empty_list(value: Any) -> Any:
    """Return an empty list for null."""
    return [] if value is None else value


def _check_task(config: dict[str, Any]) -> dict[str, Any]:
    """Raise a ValueError unless the task of a nested config is a name. A user's task may have settings of any name."""
    if not isinstance(config.get("task"), str | None):
        raise ValueError("the task of a config should be a name")
    return config


def _check_rising(numbers: list[int]) -> list[int]:
    """Raise a ValueError unless numbers of seeds are positive and rise."""
    if any(later <= earlier for earlier, later in itertools.pairwise([0, *numbers])):
        raise ValueError("numbers of seeds should be positive, each larger than the one before")
    return numbers


Settings = Annotated[dict[str, Any], BeforeValidator(null_as_empty)]
NestedConfig = Annotated[dict[str, Any], BeforeValidator(null_as_empty), AfterValidator(_check_task)]
Names = Annotated[list[str], BeforeValidator(null_as_empty_list)]
Numbers = Annotated[list[int], BeforeValidator(null_as_empty_list)]
Counts = Annotated[dict[str, int], BeforeValidator(null_as_empty)]
SeedCounts = Annotated[list[int], BeforeValidator(null_as_empty_list), AfterValidator(_check_rising)]


def config_section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of a recorded config; empty if it has none, or has a setting of that name."""
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


class Record(BaseModel):
    """A part of `study.json`. Unknown keys are kept."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, validate_assignment=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys that were read or set, as plain data."""
        return self.model_dump(exclude_unset=True)
