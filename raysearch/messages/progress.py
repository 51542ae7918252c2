"""Progress of a sweep: one message per cell that ends, and one now and then in between."""

from typing import Literal

from pydantic import Field

from raysearch.messages.message import Message
from raysearch.runs import Stage


class ProgressMessage(Message):
    """Cells and times of a stage: `cells`, or `pre-trainings` that cells start from."""

    type: Literal["progress"] = "progress"
    stage: str
    total: int = Field(description="Cells of the stage, as far as it is known.")
    ended: int = Field(description="Cells that have ended, in this call or before.")
    finished: int = Field(description="Cells that finished in this call.")
    failed: int
    stopped: int = Field(description="Cells that a scheduler stopped early.")
    running: list[str] = Field(description="Names of the running cells.")
    seconds: float = Field(description="Since the stage began.")
    seconds_left: float | None = Field(description="Estimated; null before the first cell has finished.")


class CellMessage(Message):
    """A cell has ended."""

    type: Literal["cell"] = "cell"
    cell: str = Field(description="Its hash.")
    variant: str
    seed: int
    status: Literal["finished", "failed", "stopped"]
    value: float | None = Field(description="The study's metric; null if the cell has none.")
    seconds: float | None
    error: str | None


def progress_message(stage: Stage) -> ProgressMessage:
    """Return the progress of a stage as a message.

    >>> progress_message(Stage("cells", 9, before=2, finished=3)).ended
    5
    """
    return ProgressMessage(
        stage=stage.name,
        total=stage.total,
        ended=stage.ended,
        finished=stage.finished,
        failed=stage.failed,
        stopped=stage.stopped,
        running=[cell.name for cell in stage.running],
        seconds=round(stage.seconds, 3),
        seconds_left=None if stage.seconds_left is None else round(stage.seconds_left, 3),
    )
