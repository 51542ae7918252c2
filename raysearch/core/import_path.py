"""Objects named by import path, such as "raysearch.tasks.retrieval.task:build", and imported when they are used."""

import importlib
from collections.abc import Callable
from typing import Any

from raysearch.core.errors import UserError

Reference = str | Callable[..., Any]  # "module:name", or the object itself


def load_object(reference: Reference) -> Any:
    """Return the object that a reference names; an object is returned as it is.

    Raises:
        UserError: the path has no colon, or there is no such module or name.

    >>> load_object("json:dumps")([1])
    '[1]'
    """
    if not isinstance(reference, str):
        return reference
    module, colon, name = reference.partition(":")
    if not colon:
        raise UserError(f"'{reference}' is not an import path; write module:name")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # the module exists, and something that it imports does not
        raise UserError(f"no module '{module}' for '{reference}'") from None
    except AttributeError:
        raise UserError(f"module '{module}' has no '{name}'") from None
