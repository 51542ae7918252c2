"""What all configs share: frozen sections without unknown fields, described settings, and one canonical form."""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer
from pydantic import Field as _Field
from pydantic.fields import FieldInfo

from raysearch.core import UserError, extensions
from raysearch.data import class_splits, evaluation_limits, shards

__all__ = ["Counts", "Images", "RunConfig", "Section", "fields_below", "later_section", "section", "setting"]

Condition = Callable[[Any], bool]  # of a whole run config


class Section(BaseModel):
    """A group of settings: frozen, without unknown fields, with finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class _Use:
    """When a setting or a section matters; kept among the metadata of its field."""

    used_if: Condition | None = None
    canonical: Callable[[Any], Any] | None = None
    off_if: Condition | None = None
    off: Mapping[str, Any] | None = None
    extension: bool = False


def setting(
    default: Any,
    description: str,
    *,
    used_if: Condition | None = None,
    canonical: Callable[[Any], Any] | None = None,
    **limits: Any,
) -> Any:
    """Declare a field of a section.

    Args:
        default: its value where none is given.
        description: what it changes, and why the default is what it is; `raysearch.train TASK --settings` prints it.
        used_if: tells of a run's config whether the field matters. A field that does not is left out of the canonical
            form, so that configs that differ in nothing else are one cell. None: it always matters.
        canonical: returns the value of the canonical form for a run's config, where several values mean the same.
        limits: passed to pydantic's `Field`: ge, gt, le, lt, json_schema_extra.
    """
    return _field(default, _Use(used_if, canonical), description=description, **limits)


def section(
    default: Section,
    *,
    used_if: Condition | None = None,
    off_if: Condition | None = None,
    off: Mapping[str, Any] | None = None,
) -> Any:
    """Declare a section of a run's config.

    Args:
        default: its values where none are given.
        used_if: tells of a run's config whether the section matters; one that does not is empty in the canonical form.
        off_if: tells whether the section is switched off by one of its settings.
        off: its canonical form then.
    """
    return _field(default, _Use(used_if, off_if=off_if, off=off))


def later_section(default: Section, used_if: Condition) -> Any:
    """Declare a section that earlier versions did not have: configs that do not use it keep their hashes.

    Args:
        default: its values where none are given.
        used_if: tells of a run's config whether the section matters. Dumps and canonical forms leave it out otherwise.
    """
    return _field(default, _Use(used_if, extension=True))


Counts = Mapping[str, Sequence[int]]  # split -> images of each class


class Images(NamedTuple):
    """The images that a run works on. They are decoded once for all runs that need the same ones."""

    side: int  # pixels
    zoom: float
    split: str | None  # name or file of a class-disjoint split; None: the data set's own rows


class RunConfig(Section):
    """The config of a run; every task has a class of its own."""

    task: str

    @property
    @abstractmethod
    def images(self) -> Images:
        """The images that the run works on."""

    @property
    @abstractmethod
    def backbone(self) -> tuple[str, str | None] | None:
        """Name of the backbone, and the weights that it starts from; None where raysearch knows no backbone."""

    @property
    @abstractmethod
    def identities(self) -> Mapping[str, str | None]:
        """Dotted path -> value in the cell's hash, for values that name a file: the hash covers its content."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Number of training steps, each of which a scheduler may stop after."""

    @property
    def epochs(self) -> int:
        """Number of epochs in those steps."""
        return self.steps

    @property
    def holds_out(self) -> bool:
        """Whether part of the data is held out, to choose by."""
        return True

    @property
    def checkpoint_holds_backbone(self) -> bool:
        """Whether checkpoints hold the backbone."""
        return True

    @abstractmethod
    def chance(self, counts: Counts) -> float | None:
        """Return what guessing would score on the test split; None if that is not known."""

    def limits(self, name: str, classes: Sequence[str], counts: Counts) -> evaluation_limits.Limits:
        """Return what keeps a run from being evaluated on a data set, and what makes its numbers doubtful.

        Args:
            name: the name of the data set.
            classes: their names.
            counts: split -> images of each class.
        """
        return evaluation_limits.Limits()

    def data_warnings(self, manifest: shards.Manifest, partition: class_splits.Partition | None) -> list[str]:
        """Return what the reader of a run's numbers has to know of its data.

        Args:
            manifest: of the data set.
            partition: the class-disjoint split of the run's images; None for the rows' own parts.
        """
        warnings = [*manifest.warnings, *self.limits(manifest.name, manifest.classes, manifest.counts).warnings]
        if manifest.age_warning:
            warnings.append(manifest.age_warning)
        if manifest.duplicates is not None:
            warnings += manifest.duplicates.warnings(partition.split.parts if partition else None)
        if partition is not None:
            weights = self.backbone[1] if self.backbone is not None else None
            warnings += partition.warnings(weights)
        return warnings

    def check(self, name: str, classes: Sequence[str], counts: Counts) -> None:
        """Check that a run can be made of a data set; the arguments are those of `limits`.

        Raises:
            UserError: no run can.
        """
        errors = self.limits(name, classes, counts).errors
        if errors:
            raise UserError(errors[0])

    def check_workers(self, workers: int) -> None:
        """Check that workers can share each batch.

        Args:
            workers: their number.

        Raises:
            UserError: they cannot.
        """

    def starts_from(self, seed: int) -> "tuple[RunConfig, int] | None":
        """Return config and seed of the pre-training that a run with this seed starts from, if there is one."""
        return None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Validate a config that comes as plain values, from a file or from another process.

        Raises:
            ValidationError: a value that the config does not take.
        """
        extensions.load_from_environment()  # their sections are part of the config
        return cls.model_validate(plain)

    def canonical(self) -> dict[str, Any]:
        """Return the config without anything that cannot matter, so that two spellings of one run have one name."""
        plain: dict[str, Any] = json.loads(self.model_dump_json())
        for name, field in type(self).model_fields.items():
            values = getattr(self, name, None)
            if isinstance(values, Section) and name in plain:
                plain[name] = self._canonical_section(values, _use(field), plain[name])
        return plain

    @classmethod
    def setting_fields(cls) -> Iterator[tuple[str, Any]]:
        """Yield dotted path and pydantic field of every setting."""
        return (item for item in fields_below(cls) if item[0] != "task")

    @classmethod
    def section_at(cls, sections: Iterable[str]) -> type[Section]:
        """Return the class of the section that the names lead to, from the outside in."""
        kind: Any = cls
        for name in sections:
            kind = kind.model_fields[name].annotation
        return kind

    def value_at(self, path: str) -> Any:
        """Return the value at a dotted path."""
        value: Any = self
        for name in path.split("."):
            value = getattr(value, name)
        return value

    @classmethod
    def add_section(cls, name: str, kind: type[Section], used_if: Condition, replace: bool = False) -> None:
        """Add the section of an extension. Dumps and canonical forms leave it out where it is not used.

        Args:
            name: the name of the section.
            kind: class of the section; every setting needs a default.
            used_if: tells of a run's config whether the section matters.
            replace: it replaces an earlier section of that name.

        Raises:
            UserError: the config has a field of that name.
        """
        if name in cls.model_fields and not replace:
            raise UserError(f"the configs already have a section '{name}'; choose another name")
        field = _field(kind(), _Use(used_if, extension=True))
        field.annotation = kind
        cls.model_fields[name] = field
        cls.model_rebuild(force=True)

    @model_serializer(mode="wrap")
    def _without_unused_extensions(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        for name, field in type(self).model_fields.items():
            use = _use(field)
            if use.extension and name in plain and use.used_if is not None and not use.used_if(self):
                del plain[name]
        return plain

    def _canonical_section(self, values: Section, use: _Use, plain: dict[str, Any]) -> dict[str, Any]:
        if use.used_if is not None and not use.used_if(self):
            return {}
        if use.off_if is not None and use.off_if(self):
            return dict(use.off or {})
        result = {}
        for name, field in type(values).model_fields.items():
            setting_use = _use(field)
            if setting_use.used_if is not None and not setting_use.used_if(self):
                continue
            result[name] = setting_use.canonical(self) if setting_use.canonical is not None else plain[name]
        return result


def fields_below(kind: type[Section], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted path and pydantic field of every setting of a config or a section.

    Args:
        kind: the class of the section.
        prefix: the path that it is below, with its dot.
    """
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from fields_below(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _field(default: Any, use: _Use, **options: Any) -> Any:
    field = _Field(default, **options)
    field.metadata.append(use)
    return field


def _use(field: FieldInfo) -> _Use:
    return next((item for item in field.metadata if isinstance(item, _Use)), _Use())
