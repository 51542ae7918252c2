"""A run context over shards, for tests that need no whole study."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from raysearch.core import Interrupt
from raysearch.data import shards
from raysearch.engine.cluster.capacity import TrialResources
from raysearch.engine.cluster.image_placement import ImagePlacer, PlacedImages
from raysearch.engine.options import Options, Run, RunContext
from raysearch.runs import StudyRecord
from raysearch.storage import Location
from raysearch.studies.configs import Images


def make_context(directory: Path, shards_directory: Path | None = None, options: Options | None = None) -> RunContext:
    """Return the context of a run that has no cells, and prints nothing.

    Args:
        directory: of the run.
        shards_directory: of the shards; None: the same directory.
        options: of the run; None: the defaults.
    """
    location = Location.parse(shards_directory or directory)
    record = StudyRecord(study="small", variants=[], cells=[])
    run = Run(directory, location, shards.read_manifest(location), record)
    return RunContext(run, options or Options(), Console(quiet=True), Interrupt())


def place_images(
    images: Sequence[Images], context: RunContext, demand: TrialResources | None = None
) -> dict[Images, PlacedImages]:
    """Place images of a context's data set, without a class-disjoint split."""
    return ImagePlacer(context, demand or TrialResources()).place(context.run.data_sets[None], images, {})
