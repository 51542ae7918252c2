"""Where shards are built: on threads of this process, or as tasks on Ray. The shards are the same, byte for byte.

Decoders release the GIL, but the code around them does not, so threads stop paying off at a few cores. Ray's processes
do not share a GIL and may run on other machines, but Ray takes seconds to start.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from raysearch.core import UserError, count_cpus
from raysearch.data.shards import resume, shard_builder
from raysearch.data.shards.samples import Sample
from raysearch.data.shards.shard_builder import ImageMap, PreparedImage, ShardResult, ShardSpec

RETRIES = 3  # of a shard whose worker died
SUBMITTED_PER_CPU = 2  # shards that Ray has at hand, so that no CPU waits for this process

# Handing an image to a thread and back takes 30 us, and decoding a small one 100. So threads take several at a time.
LARGEST_BATCH = 16
BATCHES_PER_THREAD = 8  # of a shard at least, so that all threads end at about the same time

NumberedResult = tuple[int, ShardResult]  # the number of the shard, and its result


class ShardExecutor(Protocol):
    """Builds shards in a work directory, in any order; `progress` is called with the number of images just done."""

    def __call__(
        self, specs: Iterable[ShardSpec], directory: Path, progress: Callable[[int], None]
    ) -> Iterator[NumberedResult]: ...


class ThreadExecutor(NamedTuple):
    """Builds one shard after the other, the images of each on `workers` threads; None for one per CPU."""

    workers: int | None = None

    def __call__(
        self, specs: Iterable[ShardSpec], directory: Path, progress: Callable[[int], None]
    ) -> Iterator[NumberedResult]:
        workers = self.workers or count_cpus()
        with ThreadPoolExecutor(workers) as pool:

            def _map_on_threads(
                prepare: Callable[[Sample], PreparedImage], samples: Iterable[Sample]
            ) -> Iterator[PreparedImage]:
                listed = list(samples)
                size = min(max(len(listed) // (BATCHES_PER_THREAD * workers), 1), LARGEST_BATCH)
                batches = (listed[start : start + size] for start in range(0, len(listed), size))
                for batch in pool.map(lambda batch: [prepare(sample) for sample in batch], batches):
                    for prepared in batch:
                        progress(1)
                        yield prepared

            for spec in specs:
                yield spec.number, _build_and_record(spec, directory, _map_on_threads)


class RayExecutor(NamedTuple):
    """Builds each shard as a task of the connected cluster, `workers` at a time; None for one per CPU.

    More workers than CPUs share the CPUs, for a disk that answers slowly. A shard whose worker dies is built again.
    """

    workers: int | None = None

    def __call__(
        self, specs: Iterable[ShardSpec], directory: Path, progress: Callable[[int], None]
    ) -> Iterator[NumberedResult]:
        import ray

        cpus = ray.cluster_resources().get("CPU", 1.0)
        workers = self.workers or int(cpus)
        submitted = workers if workers < cpus else SUBMITTED_PER_CPU * workers
        cpus_per_task = min(1.0, cpus / workers)
        build = ray.remote(_build_and_record).options(num_cpus=cpus_per_task, max_retries=RETRIES)
        remaining = iter(specs)
        running: dict[Any, ShardSpec] = {}
        try:
            while True:
                for spec in islice(remaining, submitted - len(running)):
                    running[build.remote(spec, directory)] = spec
                if not running:
                    return
                (task, *_), _ = ray.wait(list(running))
                result = _result(task, running[task])
                spec = running.pop(task)
                progress(len(spec.samples))
                yield spec.number, result
        finally:
            for task in running:
                ray.cancel(task, force=True)


def _build_and_record(spec: ShardSpec, directory: Path, image_map: ImageMap = map) -> ShardResult:
    digest = resume.input_digest(spec)  # before the images are read, which may change meanwhile
    result = shard_builder.build_shard(spec, directory, image_map)
    resume.save_record(spec, directory, digest, result)
    return result


def _result(task: Any, spec: ShardSpec) -> ShardResult:
    import ray

    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        first = spec.samples[0].source
        last = spec.samples[-1].source
        raise UserError(
            f"a worker died {1 + RETRIES} times at the images from {first} to {last} ({type(error).__name__})"
        ) from error
