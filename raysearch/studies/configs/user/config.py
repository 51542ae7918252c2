"""The config of a user's task: the settings that its study names, typed by their values, dataclass or pydantic model.

A study of a function has no config class of its own. One is made here, so that `--set`, `--only`, profiles and errors
for unknown paths work as for the built-in tasks.
"""

import dataclasses
import math
import typing
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StrictStr,
    TypeAdapter,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic import Field as _Field

from raysearch.core import Problems, UserError
from raysearch.studies.configs.base import Counts, Images, RunConfig, Section, fields_below, setting
from raysearch.studies.configs.paths import flatten_values, nest
from raysearch.studies.configs.plain_values import to_plain

STEP_NAMES = ("epochs", "steps", "iterations")  # settings that tell how long a run is, for early stopping
_RESERVED = ("task", "data")


class UserDataSection(Section):
    """The images of `--data`, as `run.images` holds them."""

    side: int = setting(64, "Side of the images in pixels; the paper profile has 224.", ge=8)
    zoom: float = setting(1.0, "Enlargement before the center is cut out; 1 keeps the whole image.", ge=1)
    split: str | None = setting(None, "Name or file of a class-disjoint split; none: the data set's own parts.")
    validation: float = setting(0.1, "Share of train that is held out where there is no validation part.", ge=0, lt=1)


class _Settings(Section):
    """A level of a user's settings."""

    model_config = ConfigDict(protected_namespaces=(), validate_default=True)


class UserConfig(RunConfig):
    """The config of a run of a user's task; `make_config_class` gives it the settings of a study.

    Its plain form has the user's settings beside `task` and `data`, without the section that holds them here.
    """

    typed: ClassVar[type | None] = None  # the user's dataclass or pydantic model

    data: UserDataSection = UserDataSection()
    own: _Settings = _Settings()

    @property
    def images(self) -> Images:
        """The images that the run works on, where data is given."""
        return Images(self.data.side, self.data.zoom, self.data.split)

    @property
    def backbone(self) -> None:
        """None: the network is the user's."""
        return None

    @property
    def identities(self) -> dict[str, str | None]:
        """Empty: no setting is known to name a file."""
        return {}

    @property
    def steps(self) -> int:
        """Number of steps, by the setting that is called epochs, steps or iterations; 1 without such a setting."""
        values = (getattr(self.own, name, None) for name in STEP_NAMES)
        return next((value for value in values if isinstance(value, int) and value > 0), 1)

    def chance(self, counts: Counts) -> None:
        """Return None, because the score of guessing is not known."""

    def own_values(self) -> Any:
        """Return the user's settings as the user's code takes them: a dict, or the dataclass or model of the study."""
        plain = self.own.model_dump()
        return plain if self.typed is None else TypeAdapter(self.typed).validate_python(plain)

    @classmethod
    def setting_fields(cls) -> Iterator[tuple[str, Any]]:
        """Yield dotted path and pydantic field of every setting."""
        yield from fields_below(cls.own_class())
        yield from fields_below(UserDataSection, "data.")

    @classmethod
    def section_at(cls, sections: Iterable[str]) -> type[Section]:
        """Return the class of the section that the names lead to."""
        names = list(sections)
        kind: Any = UserDataSection if names == ["data"] else cls.own_class()
        for name in [] if names == ["data"] else names:
            kind = kind.model_fields[name].annotation
        return kind

    def value_at(self, path: str) -> Any:
        """Return the value at a dotted path."""
        names = path.split(".")
        value: Any = self if names[0] == "data" else self.own
        for name in names:
            value = getattr(value, name)
        return value

    @classmethod
    def own_class(cls) -> type[Section]:
        """Return the class of the user's settings."""
        kind: Any = cls.model_fields["own"].annotation
        return kind

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "own" in values:
            return values
        own = {name: value for name, value in values.items() if name not in _RESERVED}
        return {name: values[name] for name in _RESERVED if name in values} | {"own": own}

    @model_validator(mode="after")
    def _check_typed(self) -> Self:
        self.own_values()
        return self

    @model_serializer(mode="wrap")
    def _spread(self, handler: Any) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        own = plain.pop("own", {})
        return {**plain, **own}


def make_config_class(
    task: str, base: object, named: Iterable[Mapping[str, Any]] = ()
) -> tuple[type[UserConfig], dict[str, Any]]:
    """Return the config class of a study of a user's task, and the settings of its base by dotted path.

    Args:
        task: the name of the task.
        base: nested settings with text keys, a dataclass, a pydantic model, or a class of these.
        named: further settings by dotted path, of the reference, the levels and the profiles. They add the paths that a
            base of plain settings does not have.

    Raises:
        UserError: a name that cannot be a setting, or a value without a plain form; of several mistakes each.
    """
    problems = Problems()
    typed = _typed_class(base)
    settings: dict[str, Any] = {}
    if typed is not None:
        own = _section_of_type(typed, None if isinstance(base, type) else base, "", problems)
    else:
        settings = _plain_base(base, problems)
        values = {path: [value] for path, value in settings.items()}
        for mapping in named:
            for path, value in mapping.items():
                if path.split(".")[0] != "data":
                    values.setdefault(path, []).append(value)
        own = _section_of_values(values, problems)
    problems.raise_all()
    config: Any = create_model(
        "StudyConfig", __base__=UserConfig, task=(str, task), own=(own, _Field(default_factory=own))
    )
    config.typed = typed
    return config, settings


def section_of_type(typed: type, problems: Problems) -> type[Section] | None:
    """Return a section with the fields and defaults of a dataclass or pydantic model; None if it is neither.

    Args:
        typed: the class.
        problems: takes the mistakes, such as a field without a default.
    """
    return None if _typed_class(typed) is None else _section_of_type(typed, None, "", problems)


def _typed_class(base: object) -> type | None:
    """Return the dataclass or pydantic model that a base is or belongs to; None for plain settings."""
    kind = base if isinstance(base, type) else type(base)
    return kind if dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel) else None


def _plain_base(base: object, problems: Problems) -> dict[str, Any]:
    """Return nested settings by dotted path with plain values. Keys may be dotted paths already."""
    if not isinstance(base, Mapping):
        problems.add(f"base is {{'setting': value}}, a dataclass or a pydantic model, not {base!r}")
        return {}
    plain: dict[str, Any] = {}
    with problems.caught():
        plain = to_plain(base, "base")
    return flatten_values(plain)


def _section_of_values(values: Mapping[str, list[Any]], problems: Problems) -> type[Section]:
    """Return a section for settings whose values are known: path -> values, the first of which is the default."""
    fields: dict[str, Any] = {}
    for path, examples in values.items():
        with problems.caught():
            for name in path.split("."):
                _check_name(name, path)
            fields[path] = (_type_of(examples), _Field(default=examples[0]))
    for path in [path for path in fields if any(other.startswith(f"{path}.") for other in fields)]:
        problems.add(f"'{path}' is a setting and a group of settings; rename one of them")
        return _Settings
    return _section_of_fields(nest(fields))


def _section_of_fields(nested: Mapping[str, Any]) -> type[Section]:
    fields: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            kind = _section_of_fields(value)
            fields[name] = (kind, _Field(default_factory=kind))
        else:
            fields[name] = value
    return _create_section("Settings", fields)


def _section_of_type(typed: type, instance: object, prefix: str, problems: Problems) -> type[Section]:
    """Return a section with the fields of a dataclass or pydantic model, and the instance's values as defaults."""
    fields: dict[str, Any] = {}
    for name, annotation, metadata, default in _typed_fields(typed):
        if not prefix and name in _RESERVED:
            problems.add(f"'{name}' is a name that raysearch uses in configs; rename that setting")
            continue
        value = default if instance is None else getattr(instance, name)
        inner = _typed_class(annotation) if isinstance(annotation, type) else None
        if inner is not None:
            held = value if isinstance(value, inner) else None
            kind = _section_of_type(inner, held, f"{prefix}{name}.", problems)
            fields[name] = (kind, _Field(default_factory=kind))
        elif value is dataclasses.MISSING:
            problems.add(f"base: '{prefix}{name}' has no value; give an instance with all values")
        else:
            with problems.caught():
                plain = to_plain(value, f"base: {prefix}{name}")
                kind_with_limits = Annotated[(annotation, *metadata)] if metadata else annotation
                fields[name] = (kind_with_limits, _Field(default=plain))
    return _create_section(typed.__name__, fields)


def _typed_fields(typed: type) -> Iterator[tuple[str, Any, Sequence[Any], Any]]:
    """Yield name, type, limits and default of each field; the default is MISSING where there is none."""
    if issubclass(typed, BaseModel):
        for name, field in typed.model_fields.items():
            default = dataclasses.MISSING if field.is_required() else field.get_default(call_default_factory=True)
            yield name, field.annotation, field.metadata, default
        return
    hints = typing.get_type_hints(typed, include_extras=True)
    dataclass: Any = typed
    for item in dataclasses.fields(dataclass):
        if item.init:
            default = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
            yield item.name, hints[item.name], (), default


def _create_section(name: str, fields: Mapping[str, Any]) -> type[Section]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a setting may be called `copy`, as a method of pydantic is
        section: Any = create_model(name, __base__=_Settings, **fields)
    return section


def _check_name(name: str, path: str) -> None:
    """Check that a part of a path can name a setting.

    Raises:
        UserError: it is no Python name, begins with an underscore, or is used by raysearch.
    """
    if not name.isidentifier() or name.startswith("_"):
        raise UserError(f"'{path}' cannot be a setting; use letters, digits and underscores, not first a digit or '_'")
    if path.split(".")[0] in _RESERVED:
        raise UserError(f"'{path.split('.')[0]}' is a name that raysearch uses in configs; rename that setting")


def _type_of(values: Sequence[Any]) -> Any:
    """Return the type of a setting with these values: text, a list, or any of the kinds of values that occur."""
    if all(isinstance(value, str) for value in values):
        return StrictStr  # so that a text such as 2024 stays a text on the command line
    kinds = {_kind_of(value) for value in values}
    as_float = any(isinstance(value, float) for value in values)

    def _check(value: Any) -> Any:
        if kinds != {"none"} and _kind_of(value) not in kinds:
            raise ValueError(f"expected {' or '.join(sorted(kinds))}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("expected a finite number")
        # 1 and 1.0 are one cell where other values are no whole numbers.
        return float(value) if as_float and _kind_of(value) == "a number" else value

    return Annotated[Any, AfterValidator(_check)]


def _kind_of(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "a text" if isinstance(value, str) else "a list"
