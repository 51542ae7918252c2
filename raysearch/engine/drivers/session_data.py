"""The images of a session: those of one data set, or of several, of which one that cannot be opened is left out."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from raysearch.core import UserError
from raysearch.data import class_splits
from raysearch.engine.cluster.capacity import TrialResources
from raysearch.engine.cluster.image_placement import ImagePlacer
from raysearch.engine.options import DataSet, RunContext
from raysearch.engine.trials.image_source import PlacedDataSet
from raysearch.runs import SplitRecord, StudyRecord
from raysearch.studies.configs import Images, RunConfig
from raysearch.studies.design import Variant


class AskedImages:
    """The images of a data set that configs ask for.

    Args:
        data: the data set.
        configs: of the variants on it.

    Attributes:
        images: sizes and splits.
        partitions: the class-disjoint splits of the images that have one.

    Raises:
        UserError: a split that the data set does not have.
    """

    def __init__(self, data: DataSet, configs: Sequence[RunConfig]) -> None:
        self._data = data
        self._configs = configs
        shards = data.shards
        self.images = sorted({config.images for config in configs}, key=str) if shards is not None else []
        self.partitions: dict[Images, class_splits.Partition] = {
            key: class_splits.partition_of(shards, key.split)
            for key in self.images
            if shards is not None and key.split is not None
        }

    def warnings(self) -> list[str]:
        """Return what makes numbers doubtful: limits of the data, and test classes that weights or a split saw."""
        warnings = {
            warning
            for config in self._configs
            for warning in config.data_warnings(self._data.manifest, self.partitions.get(config.images))
        }
        return sorted(warnings)

    def splits(self) -> dict[str, SplitRecord]:
        """Return the splits for the record."""
        return {partition.identity: SplitRecord(**partition.record()) for partition in self.partitions.values()}

    def place(self, placer: ImagePlacer) -> PlacedDataSet:
        """Decode the images, or prepare to stream them.

        Raises:
            UserError: see `ImagePlacer.place`.
        """
        images = placer.place(self._data, self.images, self.partitions) if self.images else {}
        splits = {key: partition.identity for key, partition in self.partitions.items()}
        return PlacedDataSet(images, self._data.manifest.content_hash, splits)


def find_images(context: RunContext, variants: Sequence[Variant]) -> dict[str | None, AskedImages]:
    """Return the images that variants ask for, by data set; a single one has the name None.

    Raises:
        UserError: a split that no data set has.
    """
    configs: dict[str | None, list[RunConfig]] = {}
    for variant in variants:
        configs.setdefault(variant.data_set, []).append(variant.config)
    asked = {}
    for name, of_set in configs.items():
        with _left_out(context, name):
            asked[name] = AskedImages(context.run.data_sets[name], of_set)
    _check_any(asked, context.run.record)
    return asked


def place_images(
    context: RunContext, asked: Mapping[str | None, AskedImages], demand: TrialResources
) -> dict[str | None, PlacedDataSet]:
    """Decode the images of all data sets, or prepare to stream them; the record gets warnings and splits.

    Args:
        context: of the run.
        asked: of `find_images`.
        demand: resources of a worker group.

    Raises:
        UserError: the images of no data set can be placed.
    """
    placer = ImagePlacer(context, demand)
    placed = {}
    for name, images in asked.items():
        with _left_out(context, name):
            placed[name] = images.place(placer)
    record = context.run.record
    _check_any(placed, record)
    warnings: list[str] = []
    splits: dict[str, SplitRecord] = {}
    for name in placed:
        prefix = ""
        of_set = record.data_sets.get(name or "")
        if of_set is not None:
            prefix = f"{name}: "
            of_set.warnings = asked[name].warnings()
            of_set.splits = asked[name].splits()
        warnings += [f"{prefix}{warning}" for warning in asked[name].warnings()]
        splits |= asked[name].splits()
    record.warnings = warnings
    record.splits = splits
    return placed


@contextlib.contextmanager
def _left_out(context: RunContext, name: str | None) -> Iterator[None]:
    """Record why one of several data sets cannot be opened, and go on. The error of a single data set is raised."""
    record = context.run.record.data_sets.get(name or "")
    try:
        yield
    except UserError as error:
        if record is None:
            raise
        record.error = str(error)
        text = f"data set {name} is left out: {error}; the same command runs its cells once it can be opened"
        context.console.print(text, style="yellow", markup=False)


def _check_any(data_sets: Mapping[str | None, object], record: StudyRecord) -> None:
    """Raise a UserError with the first reason if no data set can be opened."""
    errors = [f"data set {name}: {of_set.error}" for name, of_set in record.data_sets.items() if of_set.error]
    if errors and not data_sets:
        raise UserError(errors[0])
