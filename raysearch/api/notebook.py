"""Progress of a study in a notebook cell: one line that is replaced, and a bar."""

import html
import sys
from typing import Any, Self

from raysearch.core import format_seconds
from raysearch.messages import CellMessage, Message, ProgressMessage

_MAX_FAILURES = 3


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook. IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class CellProgress:
    """The progress in the output of the running cell. Use it as a context; it stays with the last state."""

    def __init__(self) -> None:
        self._display: Any = None
        self._failures: list[str] = []

    def __enter__(self) -> Self:
        from IPython.display import HTML, display  # which is there in a notebook

        self._display = display(HTML("starting"), display_id=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._display = None

    def show(self, message: Message) -> None:
        """Show a message of a sweep."""
        from IPython.display import HTML

        if isinstance(message, CellMessage) and message.error is not None:
            self._failures.append(f"{message.variant} seed {message.seed}: {message.error}")
        if isinstance(message, ProgressMessage) and self._display is not None:
            self._display.update(HTML(progress_html(message, self._failures)))


def progress_html(message: ProgressMessage, failures: list[str]) -> str:
    """Return the progress as HTML; all texts are escaped.

    Args:
        message: the latest.
        failures: a line per cell that failed.
    """
    parts = [f"{message.ended} of {message.total} {message.stage} ended", f"{len(message.running)} running"]
    parts += [f"{message.failed} failed"] if message.failed else []
    if message.seconds_left is not None and message.running:
        parts.append(f"about {format_seconds(round(message.seconds_left))} left")
    lines = [html.escape(" · ".join(parts)), *(html.escape(line[:200]) for line in failures[-_MAX_FAILURES:])]
    bar = f'<progress max="{max(message.total, 1)}" value="{message.ended}"></progress> '
    return bar + "<br>".join(lines)
