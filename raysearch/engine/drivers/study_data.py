"""The data of a sweep: the embedded data set, one that was given, or several by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from raysearch.core import Problems, UserError, cli
from raysearch.data import shards, synthetic
from raysearch.data.evaluation_limits import DataCounts
from raysearch.engine.options import DataSet
from raysearch.storage import Location, cache_dir
from raysearch.studies.configs import TASKS
from raysearch.studies.design import Ablation, Study
from raysearch.studies.design.study_values import check_data_set_names

GivenData = str | Mapping[str, str | None] | None  # one place, several by name, or none; None is the embedded data set


@dataclass(frozen=True)
class StudyData:
    """Where the data of a study is, and what is known of it before anything is drawn.

    Attributes:
        places: name -> path or URI of the shards; None is the embedded data set, or the task's own. A single data set
            without a name has the name None.
        manifests: of the data sets that were given.
    """

    places: Mapping[str | None, str | None]
    manifests: Mapping[str | None, shards.Manifest]

    @property
    def names(self) -> list[str]:
        """Return the names of several data sets; nothing for a single one without a name."""
        return [name for name in self.places if name is not None]

    @property
    def given(self) -> GivenData:
        """Return the data as a request names it, with absolute places."""
        return {name: self.places[name] for name in self.names} or self.places[None]

    @property
    def is_given(self) -> bool:
        """Return whether all of the data was given, so that nothing is drawn."""
        return all(place is not None for place in self.places.values())

    def counts(self, name: str | None, task: str) -> DataCounts | None:
        """Return the images of each class of a data set; None if they are not known, or the task needs none."""
        place = self.places[name]
        manifest = self.manifests.get(name)
        if manifest is not None:
            return DataCounts(manifest.name, manifest.classes, manifest.counts)
        if place is not None or not TASKS[task].needs_images:
            return None
        return synthetic.count_images(synthetic.SyntheticSpec())  # the same for every task

    def locate(self, task: str, console: Console) -> dict[str | None, DataSet]:
        """Return the data sets, and draw the embedded one unless it is in the cache.

        Raises:
            UserError: a manifest cannot be read.
        """
        located = {}
        for name, place in self.places.items():
            location = locate_shards(place, task, console) if place is not None or TASKS[task].needs_images else None
            manifest = self.manifests.get(name)
            if manifest is None:
                manifest = shards.read_manifest(location) if location is not None else shards.NO_DATA
            located[name] = DataSet(location, manifest)
        return located


def read_data_words(words: Sequence[str]) -> GivenData:
    """Return what several `--data` options name.

    Args:
        words: a path or URI, or `NAME=PATH` each.

    Raises:
        UserError: several without names, or a name that is there twice.

    >>> read_data_words(["shards/cub"]), read_data_words(["CUB=shards/cub", "Aircraft=shards/aircraft"])
    ('shards/cub', {'CUB': 'shards/cub', 'Aircraft': 'shards/aircraft'})
    >>> read_data_words(["s3://bucket/side=224/cub"])
    's3://bucket/side=224/cub'
    """
    named = [_split_name(word) for word in words]
    if len(named) == 1 and named[0][0] is None:
        return named[0][1]
    for name, place in named:
        if name is None:
            raise UserError(f"--data {place}: several data sets have names, such as --data CUB={place}")
    check_data_set_names([name for name, _ in named])
    return {str(name): place for name, place in named} or None


def _split_name(word: str) -> tuple[str | None, str]:
    """Return the name and the place of `NAME=PATH`; a path or URI may hold an equals sign after its first slash."""
    name, separator, place = word.partition("=")
    return (name, place) if separator and name and "/" not in name else (None, word)


def find_data(given: GivenData, study: Study | None, with_data: bool, problems: Problems) -> StudyData:
    """Return the data of a study: what was given, else what the study names, else the embedded data set.

    Args:
        given: by the user.
        study: the study; None if it could not be loaded.
        with_data: whether manifests are to be read.
        problems: takes the mistakes, each with the name of its data set.
    """
    declared = study.data if isinstance(study, Ablation) else {}
    data = given if given is not None else declared or None
    named = [(None, data)] if data is None or isinstance(data, str) else [*data.items()]
    # Workers run in other directories.
    places: dict[str | None, str | None]
    places = {name: None if place is None else cli.absolute(place) for name, place in named}
    manifests = {}
    for name, place in _given_places(places if with_data else {}):
        with problems.caught("" if name is None else f"data set {name}: "):
            manifests[name] = shards.read_manifest(Location.parse(place))
    return StudyData(places, manifests)


def _given_places(places: Mapping[str | None, str | None]) -> Iterator[tuple[str | None, str]]:
    yield from ((name, place) for name, place in places.items() if place is not None)


def locate_shards(given: str | None, task: str, console: Console) -> Location:
    """Return where the shards are: those given, or the task's embedded data set, drawn unless it is in the cache."""
    if given is not None:
        return Location.parse(given)
    spec = synthetic.SyntheticSpec(**TASKS[task].embedded)
    with console.status(f"drawing the embedded data set, {spec.classes} kinds of birds"):
        return Location.parse(synthetic.ensure_shards(spec, cache_dir()))
