"""Write a data set as Parquet shards and a `manifest.json`, completely or not at all."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

from raysearch.core import Unreachable, UserError, count_cpus
from raysearch.data.evaluation_limits import DataCounts, dataset_warnings
from raysearch.data.reading_account import ReadingAccount
from raysearch.data.shards import duplicates, executors, publish, resume, shard_builder, shard_rows, workdir
from raysearch.data.shards.manifest import FORMAT, MANIFEST, SPLITS, Corrupt, Manifest
from raysearch.data.shards.samples import Sample, canonical_order
from raysearch.storage import Location, LocationLike


def write_shards(
    samples: Iterable[Sample],
    out: LocationLike,
    *,
    name: str,
    layout: str,
    classes: Sequence[str] | None = None,
    rows_per_shard: int = 512,
    on_corrupt: Literal["skip", "fail"] = "skip",
    corrupt: Sequence[Corrupt] = (),
    steps: Sequence[str] = (),
    warnings: Sequence[str] = (),
    account: ReadingAccount | None = None,
    strict: bool = False,
    progress: Callable[[int], None] = lambda number: None,
    executor: executors.ShardExecutor = executors.ThreadExecutor(),  # noqa: B008 - it holds no state
    report: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Write samples as shards; everything appears under `out` at once, or nothing does.

    An interrupted write leaves its finished shards in a hidden directory beside `out`, and the same write continues
    from there. A directory that already holds the same data is left as it is, and its manifest is returned.

    Args:
        samples: in any order.
        out: path or URI of the directory to create. For a store, the shards are built in this machine's cache, by an
            executor that sees it, and uploaded.
        name: the name of the data set, for reports.
        layout: the layout that the samples come from, for reports.
        classes: names in label order; None for the sorted names of the samples' classes.
        rows_per_shard: samples per shard; corrupt ones leave it with fewer rows.
        on_corrupt: leave out images that do not decode, or stop at the first.
        corrupt: images that were left out before, to be listed in the manifest.
        steps: changes that were made to the images before, to be listed in the manifest.
        warnings: what the listing warns of, to be listed in the manifest.
        account: what else the source holds; None if that is not known.
        strict: whether anything that is left out, corrupt images included, is an error.
        progress: called with the number of images just done.
        executor: builds the shards.
        report: called with lines for the user.

    Raises:
        UserError: no image that decodes, or under `on_corrupt="fail"` a corrupt one; with `strict` anything that is
            left out; a sample listed twice or with an unknown class or split; an `out` that holds something else or
            cannot be written.
    """
    if rows_per_shard < 1:
        raise UserError(f"rows per shard must be 1 or more, not {rows_per_shard}")
    if on_corrupt not in ("skip", "fail"):
        raise UserError(f"on-corrupt must be skip or fail, not {on_corrupt!r}")
    if corrupt and on_corrupt == "fail":
        more = f"; {len(corrupt):,} such images in all" if len(corrupt) > 1 else ""
        raise UserError(f"{corrupt[0].source}: {corrupt[0].reason}{more}")
    whole = (account or ReadingAccount(read=0)).complete(0, corrupt)
    if strict:
        whole.refuse("SRC")
    target = Location.parse(out)
    existing = publish.existing_manifest(target)  # fails before the work, not after it
    in_order, labels = canonical_order(samples, classes)
    specs = list(shard_builder.plan_shards(in_order, labels, rows_per_shard))
    try:
        work = _work_hash(in_order, labels, rows_per_shard)
        with workdir.resumable_workdir(
            publish.staging_directory(target), work, f"{shard_builder.RECORDS_FOLDER}/*"
        ) as directory:
            try:
                results = _build_shards(specs, directory, on_corrupt, executor, progress, report)
                manifest = _manifest(
                    results, directory / shard_builder.DATA_FOLDER, name, layout, tuple(labels), corrupt, steps
                )
                whole = whole.complete(manifest.images, manifest.corrupt[len(corrupt) :])
                checked_fields = {
                    "account": whole,
                    "warnings": tuple(warnings),
                    "limits": tuple(dataset_warnings(DataCounts(name, manifest.classes, manifest.counts))),
                    "duplicates": duplicates.find_duplicates(_places(specs, results)),
                }
                manifest = manifest.model_copy(update=checked_fields)
                if strict:
                    whole.refuse("SRC")
                (directory / shard_builder.DATA_FOLDER / MANIFEST).write_text(
                    manifest.model_dump_json(indent=1) + "\n", "utf-8"
                )
                published = publish.publish_directory(directory / shard_builder.DATA_FOLDER, target, manifest)
                if existing is not None:
                    report(f"{target} holds the same data already; it is left as it is")
                return published
            except (KeyboardInterrupt, OSError, Unreachable):
                if finished := len(list((directory / shard_builder.RECORDS_FOLDER).glob("*"))):
                    report(f"interrupted: {finished:,} of {len(specs):,} shards kept; rerun the command to resume")
                raise
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error


def _work_hash(samples: Sequence[Sample], labels: dict[str, int], rows_per_shard: int) -> str:
    """Return a hash of the work, as far as the listing decides it; the shards' records cover the rest."""
    hasher = hashlib.sha256(
        json.dumps([FORMAT, shard_builder.writer_versions(), list(labels), rows_per_shard]).encode()
    )
    for sample in samples:
        hasher.update(json.dumps([sample.label, sample.split, sample.source]).encode())
    return hasher.hexdigest()


def _build_shards(
    specs: Sequence[shard_builder.ShardSpec],
    directory: Path,
    on_corrupt: str,
    executor: executors.ShardExecutor,
    progress: Callable[[int], None],
    report: Callable[[str], None],
) -> list[shard_builder.ShardResult]:
    """Return the result of each shard, of those that are finished already and those that are built now."""
    shutil.rmtree(directory / shard_builder.TEMPORARY_FOLDER, ignore_errors=True)
    for folder in (shard_builder.DATA_FOLDER, shard_builder.RECORDS_FOLDER, shard_builder.TEMPORARY_FOLDER):
        (directory / folder).mkdir(exist_ok=True)
    results: dict[int, shard_builder.ShardResult] = {}

    def _add(number: int, result: shard_builder.ShardResult) -> None:
        if result.corrupt and on_corrupt == "fail":
            raise UserError(f"{result.corrupt[0].source} is corrupt: {result.corrupt[0].reason}")
        results[number] = result

    with ThreadPoolExecutor(count_cpus()) as pool:  # hashes every finished shard
        finished = pool.map(partial(resume.load_finished, directory=directory), specs)
        for spec, result in zip(specs, finished, strict=True):
            if result:
                progress(len(spec.samples))
                _add(spec.number, result)
    if results:
        report(f"resuming: {len(results):,} of {len(specs):,} shards are finished")
    for number, result in executor((spec for spec in specs if spec.number not in results), directory, progress):
        _add(number, result)
    return [results[spec.number] for spec in specs]


def _manifest(
    results: Sequence[shard_builder.ShardResult],
    data: Path,
    name: str,
    layout: str,
    classes: tuple[str, ...],
    corrupt: Sequence[Corrupt],
    steps: Sequence[str],
) -> Manifest:
    all_corrupt = (*corrupt, *(image for result in results for image in result.corrupt))
    shards = tuple(result.shard for result in results if result.shard)
    if not shards:
        first = f" (first: {all_corrupt[0].source}: {all_corrupt[0].reason})" if all_corrupt else ""
        problem = f"all {len(all_corrupt)} images are corrupt{first}" if all_corrupt else "no images"
        raise UserError(f"{problem}; nothing to write")
    for path in set(data.iterdir()) - {data / shard.file for shard in shards}:
        path.unlink()  # left by an earlier run, in which its images decoded
    counts = {split: [0] * len(classes) for split in SPLITS if any(split in result.counts for result in results)}
    for result in results:
        for split, label_counts in result.counts.items():
            for label, number in label_counts.items():
                counts[split][label] += number
    return Manifest(
        name=name,
        layout=layout,
        classes=classes,
        counts={split: tuple(numbers) for split, numbers in counts.items()},
        images=sum(shard.rows for shard in shards),
        width=_range(side for result in results for side in result.width),
        height=_range(side for result in results for side in result.height),
        corrupt=all_corrupt,
        steps=tuple(steps),
        content_hash=shard_rows.content_hash(classes, (shard_rows.row_digests(data / shard.file) for shard in shards)),
        versions=shard_builder.writer_versions(),
        shards=shards,
    )


def _places(
    specs: Sequence[shard_builder.ShardSpec], results: Sequence[shard_builder.ShardResult]
) -> Iterator[tuple[str, duplicates.Place]]:
    """Yield digest and place of each written image, in canonical order."""
    for spec, result in zip(specs, results, strict=True):
        corrupt = {image.source for image in result.corrupt}
        rows = (sample for sample in spec.samples if sample.source not in corrupt)
        for digest, sample in zip(result.images or (), rows, strict=True):
            yield digest, duplicates.Place(sample.source, sample.label, sample.split)


def _range(sides: Iterable[int]) -> tuple[int, int]:
    distinct = set(sides)
    return min(distinct), max(distinct)
