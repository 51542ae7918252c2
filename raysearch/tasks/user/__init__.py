"""A user's function or class as a task, and what their code reports: numbers, states and errors."""

from raysearch.tasks.user.errors import UserCodeError, explain_user_error
from raysearch.tasks.user.first_rank import compute_on_first
from raysearch.tasks.user.state import pack_state, plain_numbers, unpack_state

__all__ = ["UserCodeError", "compute_on_first", "explain_user_error", "pack_state", "plain_numbers", "unpack_state"]
