"""Errors of a user's code: the line of the user's file in the message, and a traceback that begins there."""

import traceback

import torch

from raysearch.core import UserError, user_code
from raysearch.tasks.base import NonFiniteLoss


class UserCodeError(RuntimeError):
    """A user's code raised; the message has its error, and the line of the user's file."""

    @property
    def traceback(self) -> str:
        """The traceback of the original error, from the first line of the user's files on."""
        original = self.__cause__ or self
        lines = traceback.extract_tb(original.__traceback__)
        first = next((at for at, frame in enumerate(lines) if user_code.written_as(frame.filename)), 0)
        shown = traceback.StackSummary.from_list(lines[first:]).format()
        return "".join(["Traceback (most recent call last):\n", *shown, *traceback.format_exception_only(original)])


def explain_user_error(error: BaseException) -> Exception:
    """Return an error of a user's code with the line of the user's file in its message.

    Errors that the engine handles by their type keep it.
    """
    place = user_code.describe_place(error)
    if isinstance(error, NonFiniteLoss | torch.OutOfMemoryError):
        return error
    text = " ".join(str(error).split()) + (f" ({place})" if place else "")
    if isinstance(error, UserError):
        return UserError(text)
    kind = type(type(error).__name__, (UserCodeError,), {})  # people read the name of the original
    explained: Exception = kind(text)
    return explained
