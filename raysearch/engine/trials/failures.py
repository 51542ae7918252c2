"""The reason why an attempt at a cell failed, in one line: Ray's own accounts are pages long."""

import re

from ray.exceptions import RayActorError

_MAX_LENGTH = 500  # characters
_OWN_MODULE = re.compile(r"^raysearch\.[\w.]+\.(?=\w+: )")  # before the name of an error


def explain_group(error: Exception) -> str:
    """Return why a worker group ended. Ranks that waited for one that died fail too, and are left out.

    Args:
        error: raised by `fit()` of Ray Train.
    """
    failures = {
        rank: getattr(failure, "health_check_failure", failure)
        for rank, failure in sorted(getattr(error, "worker_failures", {}).items())
    }
    died = [str(rank) for rank, failure in failures.items() if isinstance(failure, RayActorError)]
    if died:
        return f"the worker of rank {', '.join(died)} died: it was killed, was out of memory, or lost its node"
    for rank, failure in failures.items():
        line = _OWN_MODULE.sub("", str(failure).strip().splitlines()[-1])
        return f"rank {rank}: {line}"[:_MAX_LENGTH]
    if hasattr(error, "controller_failure"):  # before the loop began, for example when ranks do not find each other
        lines = str(error.controller_failure).strip().splitlines() or [repr(error.controller_failure)]
        return f"the worker group did not start: {_OWN_MODULE.sub('', lines[-1])}"[:_MAX_LENGTH]
    return f"{type(error).__name__}: {_one_line(str(error))}"[:_MAX_LENGTH]


def explain_attempt(text: str) -> str:
    """Return the essence of Ray Tune's account of a failed attempt.

    Args:
        text: a traceback, or Ray's description of a dead actor.

    >>> explain_attempt("Traceback ... raysearch.engine.trials.mailbox.GroupLost: no answer for 8 s")
    'no answer for 8 s'
    >>> explain_attempt("class_name: Mailbox ... The actor is dead because its node has died. Node Id: 1")
    'the mailbox is dead because its node has died'
    """
    line = _one_line(text)
    lost = re.search(r".*\bGroup(?:Lost|NotStarted): (.*)", line)
    if lost:
        return lost[1][:_MAX_LENGTH]
    dead = re.search(r"class_name: (\w+).*?dead (because [^.]*)", line)
    if dead:
        return f"the {'mailbox' if 'Mailbox' in dead[1] else 'trial actor'} is dead {dead[2]}"
    return line[-_MAX_LENGTH:] or "the worker group was lost"


def is_failed_start(text: str) -> bool:
    """Return whether an attempt failed because its worker group did not start, so that the cell has no part in it.

    Args:
        text: as for `explain_attempt`.
    """
    return "GroupNotStarted: " in text


def _one_line(text: str) -> str:
    return " ".join(text.split())
