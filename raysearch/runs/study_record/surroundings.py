"""Data, settings and code of a run."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from raysearch.core import UserError
from raysearch.runs.study_record.fields import Counts, Names, Record, Settings, null_as_empty
from raysearch.storage import names_a_server, without_credentials


class DataRecord(Record):
    """The data set."""

    name: str | None = None
    layout: str | None = None
    path: str | None = None
    content_hash: str | None = None
    images: int | None = None
    classes: int | None = None
    counts: Counts = {}  # split -> images
    account: str | None = None  # what the ingest read and left out, in one line

    def recorded_path(self) -> str:
        """Return the path or URI of the shards.

        Raises:
            UserError: the run does not record it, or records a URI that chooses a server; see
                `storage.names_a_server`.
        """
        if self.path is None:
            raise UserError("the run does not record where its data set is; name the directory with --data")
        if names_a_server(self.path):
            raise UserError(
                f"the run's data set is at '{without_credentials(self.path)}'; a server that a record names is not "
                "contacted: give the URI with --data if you trust it"
            )
        return self.path


class SplitRecord(Record):
    """Classes and images in each part of a class-disjoint split."""

    classes: dict[str, int]
    images: dict[str, int]


class DataSetRecord(Record):
    """One of several data sets of a study. `error` is the reason why its images could not be opened."""

    data: Annotated[DataRecord, BeforeValidator(null_as_empty)] = Field(default_factory=DataRecord)
    chance: float | None = None
    warnings: Names = []
    splits: Annotated[dict[str, SplitRecord], BeforeValidator(null_as_empty)] = {}
    error: str | None = None


class Surroundings(Record):
    """Data, settings and code of a run, whatever kind of study it is."""

    profile_reason: str | None = None
    chance: float | None = None  # the metric of a random guess
    settings: Settings = {}  # overrides from the command line
    command: str | None = None  # that continues the run
    data: Annotated[DataRecord, BeforeValidator(null_as_empty)] = Field(default_factory=DataRecord)
    data_sets: Annotated[dict[str, DataSetRecord], BeforeValidator(null_as_empty)] = {}  # of a study on several
    code_version: int | None = None
    versions: Settings = {}  # package -> version
