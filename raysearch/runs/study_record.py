"""What `study.json` may hold: checked once where it is read, so that nobody behind has to doubt a type.

Any key may be missing, since older and interrupted runs hold less, and others may be there. A file that someone else
wrote may also hold nonsense: a value of another type, a number that no float takes, or braces a thousand deep.
"""

import json
import math
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from raysearch.core.errors import UserError

_DEEPEST = 32  # levels; a config has four
_LARGEST = 2**63  # integers beyond are no seed, size or count, and no float holds what they say

_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")  # and whole pairs, which come to no harm

Text = str | None
Plain = dict[str, Any] | None


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Config(_Part):
    __pydantic_extra__: dict[str, dict[str, Any]]  # sections
    task: Text = None


class _Levels(_Part):
    settings: Plain = None
    declared: Plain = None


class _Variant(_Levels):
    name: str
    config: _Config | None = None
    also: list[_Levels] | None = None


class _Cell(_Part):
    cell: str
    variant: str
    seed: int
    stage: Text = None


class _Data(_Part):
    name: Text = None
    path: Text = None
    layout: Text = None
    content_hash: Text = None
    images: int | None = None
    classes: int | None = None
    counts: dict[str, int] | None = None


class _Best(_Part):
    variant: Text = None
    front: list[str] | None = None


class _Feed(_Part):
    text: str


class _Epochs(_Part):
    run: float | None = None
    full: float | None = None


class _PreTrainings(_Part):
    cells: int = 0
    seconds: float = 0.0


class _Cost(_Part):
    dollars: float | None = None
    node_hours: dict[str, float] | None = None


class _Split(_Part):
    classes: dict[str, int]
    images: dict[str, int]


class _Record(_Part):
    kind: Literal["ablation", "search"] | None = None
    study: str
    question: Text = None
    profile: Text = None
    profile_reason: Text = None
    task: Text = None
    design: Text = None
    reference: Text = None
    references: dict[str, str] | None = None
    metric: Text = None
    metric_id: Text = None
    mode: Literal["max", "min"] | None = None
    metrics: list[str] | None = None
    modes: list[Literal["max", "min"]] | None = None
    judge_metric: Text = None
    judge_mode: Literal["max", "min"] | None = None
    published: Text = None
    factors: list[str] | None = None
    seeds: list[int] | None = None
    variants: list[_Variant]
    cells: list[_Cell]
    data: _Data | None = None
    chance: float | None = None
    settings: Plain = None
    splits: dict[str, _Split] | None = None
    warnings: list[str] | None = None
    command: Text = None
    started: Text = None
    ended: Text = None
    wall_seconds: float | None = None
    adopted: int | None = None
    feed: list[_Feed] | None = None
    pre_trainings: _PreTrainings | None = None
    cost: _Cost | None = None
    budget: int | None = None
    space: Plain = None
    group: Text = None
    best: list[_Best] | None = None
    epochs: _Epochs | None = None


def parse_record(text: str, where: str) -> dict[str, Any]:
    """What a `study.json` holds, as plain data.

    Args:
        text: of the file.
        where: the file, for the message.

    Raises:
        UserError: no JSON, or a value that cannot be what its name says.

    >>> parse_record('{"study": "s", "variants": [], "cells": []}', "study.json")["study"]
    's'
    >>> parse_record('{"study": "s", "variants": [], "cells": "many"}', "study.json")
    Traceback (most recent call last):
    raysearch.core.errors.UserError: 'study.json' is damaged: cells: input should be a valid list
    """
    try:
        record = json.loads(text, parse_constant=lambda name: None)  # NaN and Infinity are nobody's number
        _check_numbers(record)
        if _HALF_A_PAIR.search(text):
            record = _mended(record)
        _Record.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part)[:80] for part in first["loc"])
        raise UserError(f"'{where}' is damaged: {place}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None
    except RecursionError:
        raise UserError(f"'{where}' is damaged: it is nested too deep") from None
    except ValueError as error:
        raise UserError(f"'{where}' is damaged: {error}") from None
    return record


def _mended(value: Any) -> Any:
    """Texts without halves of surrogate pairs, which no file takes; they stand as question marks."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_mended(key): _mended(one) for key, one in value.items()}
    return [_mended(one) for one in value] if isinstance(value, list) else value


def _check_numbers(record: Any) -> None:
    """Raise a ValueError for a number or a depth that no study has."""
    level = [record]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError("it holds a number larger than any float")
            elif isinstance(value, int) and abs(value) >= _LARGEST:
                raise ValueError("it holds an integer of more than 64 bits")
        level = inner
        if not level:
            return
    raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
