"""A config as text: every setting with its value, its origin and its reason, or all values as YAML or JSON."""

import json
import textwrap
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from raysearch.studies.configs import base, overrides, paths

_WIDTH = 100


class ConfigFormat(StrEnum):
    """The forms in which a command prints a config."""

    TEXT = "text"
    YAML = "yaml"
    JSON = "json"


def describe_config(
    config: base.RunConfig, form: ConfigFormat = ConfigFormat.TEXT, origins: Mapping[str, str] | None = None
) -> str:
    """Return a config as a command prints it.

    Args:
        config: the config as it would run.
        form: `text` has a `PATH=VALUE` line per setting, which `--set` takes, and the setting's description.
        origins: dotted path -> where its value comes from, such as "profile laptop".
    """
    if form is ConfigFormat.TEXT:
        return "\n".join(_paragraphs(config, origins or {}))
    plain = config.model_dump(mode="json")
    if form is ConfigFormat.JSON:
        return json.dumps(plain, indent=2)
    import yaml  # a machine that only trains may lack it

    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)).rstrip()


def origins_of(*layers: tuple[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return where each setting comes from, given the layers from the lowest to the highest.

    >>> origins_of(("profile laptop", {"data.side": 64, "hash.bits": 12}), ("--set", {"hash.bits": 24}))
    {'data.side': 'profile laptop', 'hash.bits': '--set'}
    """
    return {path: name for name, settings in layers for path in settings}


def _paragraphs(config: base.RunConfig, origins: Mapping[str, str]) -> list[str]:
    """Return two lines or more per setting: its value with notes, and its description."""
    used = paths.flatten(config.canonical())
    paragraphs = []
    for path, field in overrides.known_paths(config.task).items():
        value = overrides.get_path(config, path)
        notes = []
        if value != field.default:
            origin = origins.get(path, f"scaled to data.side={config.images.side}")
            notes.append(f"{origin}; default {json.dumps(field.default)}")
        if path not in used:
            notes.append("no effect beside the other settings")
        line = f"{path}={json.dumps(value)}"
        comment = f"# {'; '.join(notes)}" if notes else ""
        fits = len(line) + 4 + len(comment) <= _WIDTH
        paragraphs += [f"{line}    {comment}".rstrip()] if fits else [line, textwrap.indent(comment, " " * 4)]
        if field.description:  # settings of a user's task may have none
            indent = " " * 4
            paragraphs.append(textwrap.fill(field.description, _WIDTH, initial_indent=indent, subsequent_indent=indent))
    return paragraphs
