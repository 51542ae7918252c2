"""A user's loss, head or other part of a built-in method: its arguments, and its settings as a section of the config.

The settings are the dataclass or pydantic model that annotates the part's parameter `settings`. They are the section
`my` of the config, or the one that the part's attribute `section` names.
"""

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from raysearch.core import Problems, UserError, type_of, user_code
from raysearch.studies.configs.base import RunConfig, Section
from raysearch.studies.configs.user.config import section_of_type

_SECTION = "my"
_SETTINGS = "settings"
_OWNER = "__part_settings__"  # attribute of a section: the file and the class that it is made of


@dataclass(frozen=True)
class PartSettings:
    """The settings of a part.

    Args:
        section: the name of the config section.
        typed: the user's dataclass or pydantic model.
        kind: the class of the section.
    """

    section: str
    typed: type
    kind: type[Section]

    def of(self, config: RunConfig) -> Any:
        """Return the settings of a run as the user's class."""
        return TypeAdapter(self.typed).validate_python(getattr(config, self.section).model_dump())


def read_settings(part: Callable[..., Any], code: user_code.UserCode) -> PartSettings | None:
    """Return the settings that a function, or the constructor of a class, takes; None if it takes none.

    Args:
        part: the function or class.
        code: its code, for messages.

    Raises:
        UserError: its parameter `settings` is not annotated by a dataclass or pydantic model with a default everywhere.
    """
    if _SETTINGS not in inspect.signature(part).parameters:
        return None
    function = part.__init__ if isinstance(part, type) else part  # type: ignore[misc]
    try:
        typed = typing.get_type_hints(function).get(_SETTINGS)
    except NameError as error:
        raise UserError(f"'{code.reference}': its annotations name what is not there: {error}") from None
    problems = Problems()
    kind = section_of_type(typed, problems) if isinstance(typed, type) else None
    if typed is None or kind is None:
        raise UserError(f"'{code.reference}': annotate its parameter `settings` by a dataclass or a pydantic model")
    problems.raise_all()
    return PartSettings(str(getattr(part, "section", _SECTION)), typed, kind)


def check_arguments(
    part: Callable[..., Any], code: user_code.UserCode, names: Sequence[str], optional: Sequence[str]
) -> None:
    """Check that a function, or the constructor of a class, takes what it is called with.

    Args:
        part: the function or class.
        code: its code, for messages.
        names: positional arguments, as messages name them.
        optional: further arguments, which are given by name if it has a parameter of that name.

    Raises:
        UserError: it takes others.
    """
    if not callable(part):
        raise UserError(f"'{code.reference}' is {type_of(part)}, not a function or class")
    signature = inspect.signature(part)
    given = {name: None for name in optional if name in signature.parameters}
    try:
        signature.bind(*names, **given)
    except TypeError:
        further = f", and may take {', '.join(optional)}" if optional else ""
        raise UserError(
            f"'{code.reference}' takes {signature}; it is called with ({', '.join(names)}){further}"
        ) from None


def named_arguments(part: Callable[..., Any], available: dict[str, Any]) -> dict[str, Any]:
    """Return those of the available arguments that a function or constructor has a parameter for."""
    parameters = inspect.signature(part).parameters
    return {name: value for name, value in available.items() if name in parameters}


def add_section(
    config: type[RunConfig], part: Callable[..., Any], code: user_code.UserCode, used_if: Any
) -> PartSettings | None:
    """Add the settings of a part to a config class, and return them; None if it has none.

    Args:
        config: the config class of the part's task.
        part: the function or class.
        code: its code.
        used_if: `(config, section name) -> bool`, whether a run's config uses the section.

    Raises:
        UserError: the section is another part's or a built-in one.
    """
    settings = read_settings(part, code)
    if settings is None:
        return None
    name = settings.section
    owner = (code.label, settings.typed.__qualname__)
    known = config.model_fields.get(name)
    if known is not None and getattr(known.annotation, _OWNER, None) != owner:
        raise UserError(
            f"'{code.reference}': the configs have another section '{name}'; give the part an attribute `section`, "
            "such as section = 'margin'"
        )
    setattr(settings.kind, _OWNER, owner)
    config.add_section(name, settings.kind, used_if=lambda run: used_if(run, name), replace=known is not None)
    return settings
