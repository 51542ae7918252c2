"""Dotted config paths, such as `srem.regions`, and the nested form that configs have: {"srem": {"regions": 10}}.

A setting whose type is marked with `NameOrPath` holds a name or the path of a file, which `absolute_path` completes.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

Settings = Mapping[str, Any]  # dotted path -> value


def split_path(path: str) -> tuple[str, str]:
    """Return the section and the field that a dotted path names."""
    section, field = path.split(".")
    return section, field


def nest(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return settings by section.

    >>> nest({"srem.regions": 10, "srem.size": 9, "hash.bits": 12})
    {'srem': {'regions': 10, 'size': 9}, 'hash': {'bits': 12}}
    """
    nested: dict[str, dict[str, Any]] = {}
    for path, value in settings.items():
        section, field = split_path(path)
        nested.setdefault(section, {})[field] = value
    return nested


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain config's values by dotted path; values outside sections, such as the task, are left out.

    >>> flatten({"task": "retrieval", "hash": {"bits": 12}})
    {'hash.bits': 12}
    """
    return {
        f"{section}.{field}": value
        for section, values in config.items()
        if isinstance(values, Mapping)
        for field, value in values.items()
    }


def replace_values(config: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a plain config with the values at dotted paths replaced; the given one stays as it is.

    >>> replace_values({"train": {"lr": 0.1, "epochs": 2}}, {"train.lr": 0.2})
    {'train': {'lr': 0.2, 'epochs': 2}}
    """
    return {**config, **{section: {**config[section], **values} for section, values in nest(settings).items()}}


@dataclass(frozen=True)
class NameOrPath:
    """Marks the type of a setting that holds a name or the path of a file: `Annotated[str, NameOrPath(is_name)]`.

    Args:
        is_name: tells whether a text is a known name, which no file of that name hides.
    """

    is_name: Callable[[str], bool]


def path_mark(field: Any) -> NameOrPath | None:
    """Return the mark of a pydantic field that holds a path; None for other fields. `pathlib.Path` needs no mark."""
    for item in (*field.metadata, *_parts_of_type(field.annotation)):
        if isinstance(item, NameOrPath):
            return item
        if isinstance(item, type) and issubclass(item, Path):
            return NameOrPath(lambda _: False)
    return None


def absolute_path(text: str, is_name: Callable[[str], bool], folder: Path | None = None) -> str:
    """Return a path that means the same file in every process; names and URIs stay as they are.

    Args:
        text: a name, a path or a URI. `~` is the home directory.
        is_name: tells whether a text is a known name.
        folder: where a relative path is looked up when the current directory does not hold it.

    >>> absolute_path("IMAGENET1K_V1", lambda _: True), absolute_path("s3://bucket/w.pth", lambda _: False)
    ('IMAGENET1K_V1', 's3://bucket/w.pth')
    """
    if "://" in text or not text.strip() or is_name(text):
        return text
    path = Path(text).expanduser()
    for base in (Path.cwd(), folder):
        if base is not None and (base / path).exists():
            return os.path.abspath(base / path)
    is_path = "/" in text or path.suffix or text in ("~", ".", "..")
    return os.path.abspath(path) if is_path else text


def _parts_of_type(annotation: Any) -> Iterator[Any]:
    """Yield the parts of a type and their marks: those of `Annotated[str, mark] | None` are str, mark and None."""
    yield annotation
    yield from getattr(annotation, "__metadata__", ())
    for part in get_args(annotation):
        yield from _parts_of_type(part)
