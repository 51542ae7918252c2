"""Variables of Matlab's .mat files, in which older data sets keep their lists."""

from pathlib import Path
from typing import Any

from raysearch.core import UserError


def read_variables(path: Path, *names: str) -> list[Any]:
    """Read variables of a .mat file, each as a one-dimensional array.

    Cells become strings, numbers stay numbers, and a struct array becomes an array with a named field per field.

    Args:
        path: the path of the file.
        names: the names of the variables.

    Raises:
        UserError: no such file, not a .mat file, or a variable that is missing.
    """
    import numpy as np
    from scipy.io import loadmat

    try:
        content = loadmat(path, squeeze_me=True)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except Exception as error:  # a broken file raises ValueError, TypeError, zlib.error, MatReadError and more
        raise UserError(f"{path} cannot be read as a .mat file ({type(error).__name__}); is it whole?") from error
    if missing := [name for name in names if name not in content]:
        raise UserError(f"{path} has no variable {missing[0]!r}; it needs {', '.join(names)}")
    return [np.atleast_1d(content[name]) for name in names]
