"""One of the two processes of `check_task`: `python -m raysearch.testing.two_workers FOLDER RANK`."""

import io
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from raysearch.tasks.base import Worker
from raysearch.testing.task_kit import TaskCase, read_case, run_to_the_end

_SECONDS = 60
_RELATIVE = 1e-4  # difference of two workers' metrics: each adds floats in its own order


def check_rank(case: TaskCase, folder: Path, rank: int) -> None:
    """Run the task on this rank of two, whole and continued, and compare the ranks.

    Raises:
        AssertionError: the ranks differ, or a run that continues differs from the undisturbed one.
    """
    worker = Worker(case.feed, folder, rank=rank, world_size=2)  # type: ignore[arg-type]
    task = case.make(worker)
    boxes: list[Any] = [None, None]
    torch.distributed.all_gather_object(boxes, task.steps)
    if boxes[0] != boxes[1]:
        raise AssertionError(f"{case.name}: of two workers, rank 0 has {boxes[0]} steps and rank 1 {boxes[1]}")
    reports, states = run_to_the_end(task, keep_states=True)
    metrics = task.evaluate()
    half = len(states) // 2
    torch.distributed.all_gather_object(boxes, (metrics, states[half]))
    (of_first, state), (of_second, _) = boxes
    for name in of_first.keys() & of_second.keys():
        first = of_first[name]
        second = of_second[name]
        if isinstance(first, float) and abs(first - second) > _RELATIVE * max(abs(first), abs(second)):
            raise AssertionError(
                f"{case.name}: of two workers, rank 0 has {name} {first!r} and rank 1 {second!r}: they hold different "
                "models; call worker.wrap(model), or sum gradients by worker.sum"
            )
    again = case.make(worker)
    again.load_state_dict(torch.load(io.BytesIO(state), weights_only=True))
    rest, _ = run_to_the_end(again, keep_states=False)
    metrics_again = again.evaluate()
    if rank == 0 and (rest, metrics_again) != (reports[half:], metrics):
        raise AssertionError(
            f"{case.name}: two workers that continue from rank 0's state after step {half} give other numbers"
        )


def main(folder: Path, rank: int) -> None:
    """Join the other process, and check; a file `error-RANK` has what is wrong."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=_SECONDS),
    )
    case = read_case(folder / "case")
    try:
        check_rank(case, folder, rank)
    except Exception as error:
        text = str(error) if isinstance(error, AssertionError) else f"{case.name}: {type(error).__name__}: {error}"
        (folder / f"error-{rank}").write_text(text)
        raise SystemExit(1) from None  # the other one may wait for this one
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
