"""Failures that say nothing about a config: of what the user gave, or of the machine. Their cells run again.

A file may be missing, a setting may not fit the data, or a disk may be full. An error begins with its type, after the
rank that it came from.
"""

import re

_INPUT_ERROR = re.compile(
    r"^(rank [\d, ]+: )?([\w.]+\.)?(UserError|Unreachable|FileNotFoundError|NotADirectoryError|IsADirectoryError"
    r"|PermissionError|ModuleNotFoundError|ImportError)\b"
    r"|No space left on device|Disk quota exceeded|Read-only file system|Stale file handle"
    r"|out of GPU memory while other processes"
)


def is_input_error(error: str) -> bool:
    """Return whether an error comes from the user's input or the machine, and says nothing about a config.

    >>> is_input_error("FileNotFoundError: [Errno 2] No such file or directory: 'vgg16.pth'")
    True
    >>> is_input_error("NonFiniteLoss: the loss became nan")
    False
    """
    return bool(_INPUT_ERROR.search(error))
