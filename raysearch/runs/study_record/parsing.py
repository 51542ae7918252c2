"""Reading `study.json`. A file from elsewhere may hold anything; what no study has gives a one-line error."""

import json
import math
import re
from typing import Any

from pydantic import ValidationError

from raysearch.core import UserError
from raysearch.runs.study_record.study import StudyRecord

_MAX_DEPTH = 32  # levels; a config has four
_MAX_INTEGER = 2**63  # no seed, size or count is larger, and no float holds such an integer exactly

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half a pair, or one of a whole pair, which stays as it is


def parse_record(text: str, where: str) -> StudyRecord:
    """Return the content of a `study.json`.

    Args:
        text: the file's text.
        where: the file, for the error message.

    Raises:
        UserError: the text is not JSON, or a value has a type that its key does not allow.

    >>> parse_record('{"study": "s", "variants": [], "cells": []}', "study.json").study
    's'
    >>> parse_record('{"study": "s", "variants": [], "cells": "many"}', "study.json")
    Traceback (most recent call last):
    raysearch.core.errors.UserError: 'study.json' is damaged: cells: input should be a valid list
    """
    try:
        data = json.loads(text, parse_constant=lambda name: None)  # NaN and Infinity are not results
        _check_numbers(data)
        if _SURROGATE.search(text):
            data = _replace_surrogates(data)
        return StudyRecord.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part)[:80] for part in first["loc"])
        raise UserError(f"'{where}' is damaged: {path}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None
    except RecursionError:
        raise UserError(f"'{where}' is damaged: it is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"'{where}' is damaged: {error}") from None


def _replace_surrogates(value: Any) -> Any:
    """Return nested data whose texts hold question marks for halves of surrogate pairs, which no file takes."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(entry) for key, entry in value.items()}
    return [_replace_surrogates(entry) for entry in value] if isinstance(value, list) else value


def _check_numbers(data: Any) -> None:
    """Raise a ValueError for a number or a depth that no study has."""
    level = [data]
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError("it holds a number larger than any float")
            elif isinstance(value, int) and abs(value) >= _MAX_INTEGER:
                raise ValueError("it holds an integer of more than 64 bits")
        level = inner
        if not level:
            return
    raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
