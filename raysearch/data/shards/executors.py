"""Who makes the shards of pieces: threads of this process, or tasks on Ray. The shards are the same, byte for byte.

Images are decoded outside the GIL, but what is around that is not, so threads stop paying at some few cores. Ray's
processes do not, and they may be on other machines; but Ray takes seconds to start.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from raysearch.core.errors import UserError
from raysearch.data.shards import resume, shard_builder
from raysearch.data.shards.samples import Sample
from raysearch.data.shards.shard_builder import ImageMap, PreparedImage, ShardResult, ShardSpec

RETRIES = 3  # of a piece whose worker died
AHEAD = 2  # pieces a CPU that are handed to Ray, so that none waits for this process


class Done(NamedTuple):
    number: int  # of the piece
    made: ShardResult


class ShardExecutor(Protocol):
    """Makes pieces in a directory, in any order; `progress` is called with the number of images just done."""

    def __call__(
        self, some: Iterable[ShardSpec], directory: Path, progress: Callable[[int], None]
    ) -> Iterator[Done]: ...


class ThreadExecutor(NamedTuple):
    """Piece after piece, the images of each on threads; None: as many as there are CPUs."""

    workers: int | None = None

    def __call__(self, some: Iterable[ShardSpec], directory: Path, progress: Callable[[int], None]) -> Iterator[Done]:
        with ThreadPoolExecutor(self.workers or os.cpu_count()) as pool:

            def each(prepare: Callable[[Sample], PreparedImage], samples: Iterable[Sample]) -> Iterator[PreparedImage]:
                for prepared in pool.map(prepare, samples):
                    progress(1)
                    yield prepared

            for piece in some:
                yield Done(piece.number, _make(piece, directory, each))


class RayExecutor(NamedTuple):
    """Each piece a task of the cluster that this process is connected to; None: as many at a time as it has CPUs.

    More workers than CPUs share them, for a disk that answers slowly. A piece whose worker dies is made again.
    """

    workers: int | None = None

    def __call__(self, some: Iterable[ShardSpec], directory: Path, progress: Callable[[int], None]) -> Iterator[Done]:
        import ray

        cpus = ray.cluster_resources().get("CPU", 1.0)
        share = min(1.0, cpus / self.workers) if self.workers else 1.0
        most = self.workers if self.workers and self.workers < cpus else AHEAD * (self.workers or int(cpus))
        task = ray.remote(_make).options(num_cpus=share, max_retries=RETRIES)
        left, running = iter(some), dict[Any, ShardSpec]()
        try:
            while True:
                for piece in islice(left, most - len(running)):
                    running[task.remote(piece, directory)] = piece
                if not running:
                    return
                (first, *_), _ = ray.wait(list(running))
                made = _result(first, running[first])
                piece = running.pop(first)
                progress(len(piece.samples))
                yield Done(piece.number, made)
        finally:
            for one in running:
                ray.cancel(one, force=True)


def _make(piece: ShardSpec, directory: Path, each: ImageMap = map) -> ShardResult:
    stands_on = resume.input_digest(piece)  # before its images are read, which may change meanwhile
    made = shard_builder.build_shard(piece, directory, each)
    resume.save_record(piece, directory, stands_on, made)
    return made


def _result(task: Any, piece: ShardSpec) -> ShardResult:
    import ray

    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        first, last = piece.samples[0].source, piece.samples[-1].source
        raise UserError(
            f"a worker died {1 + RETRIES} times at the images from {first} to {last} ({type(error).__name__})"
        ) from error
