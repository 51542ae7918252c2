"""What all sections of configs have in common: frozen, no unknown field, numbers finite, every field described."""

from typing import Any

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
