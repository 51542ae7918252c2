"""Optuna: a storage in SQLite, or a journal file. Every trial is a run.

Optuna itself reads a copy of the file: opening a storage may change it.
"""

import shutil
import tempfile
from pathlib import Path

from raysearch.core import UserError
from raysearch.runs.imported import mlflow_store, source
from raysearch.runs.imported.registry import READERS, SourceReader
from raysearch.runs.imported.source import Source

_TABLES = {"studies", "trials", "trial_values", "trial_params"}
_JOURNAL_START = b'{"op_code"'


def read_storage(path: Path, study_name: str | None) -> Source:
    """Read a storage.

    Args:
        path: the file.
        study_name: the study, if there are several.

    Raises:
        UserError: it is damaged, or holds several studies and none was named.
    """
    import optuna  # slow to import, and needed for this source alone

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="raysearch-") as folder:
        copy = Path(folder) / "copy"
        shutil.copyfile(path, copy)
        try:
            storage: optuna.storages.BaseStorage
            if _is_journal(path):
                storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(copy)))
            else:
                storage = optuna.storages.RDBStorage(f"sqlite:///{copy}")
            names = optuna.get_all_study_names(storage)
            chosen = source.choose_part(names, study_name, "study", path)
            study = optuna.load_study(study_name=chosen, storage=storage)
            return _as_source(study, chosen)
        except UserError:
            raise
        except Exception as error:  # SQLAlchemy, sqlite3 and Optuna each have their own
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"'{path}' is not an Optuna storage that can be read: {reason}") from None


def _as_source(study: "optuna.Study", name: str) -> Source:  # type: ignore[name-defined]  # noqa: F821
    names = study.metric_names or (["value"] if len(study.directions) == 1 else None)
    settings: dict[str, None] = {}
    rows = []
    curves = []
    for trial in study.trials[: source.MAX_RUNS]:
        attributes = source.flat_values(trial.user_attrs)
        values = trial.values or []
        metrics = names or [f"value_{number}" for number in range(len(values))]
        row = {source.RUN: f"trial {trial.number}", source.STATUS: trial.state.name}
        if trial.state.name == "WAITING":
            row[source.STATUS] = "pending"
        row |= dict(zip(metrics, values, strict=False)) | attributes | source.flat_values(trial.params)
        settings |= dict.fromkeys(trial.params)
        rows.append(row)
        curves.append([{"step": step, metrics[0]: value} for step, value in sorted(trial.intermediate_values.items())])
    source.check_sizes(len(rows), 1, name)
    return Source(rows, tuple(settings), curves, name)


def _is_journal(path: Path) -> bool:
    return path.is_file() and path.open("rb").read(len(_JOURNAL_START)) == _JOURNAL_START


READERS.register(
    "Optuna storage",
    SourceReader(lambda path: mlflow_store.table_names(path) >= _TABLES or _is_journal(path), read_storage),
)
