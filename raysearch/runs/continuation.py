"""Which run a sweep continues: a run directory holds one study, on one data set and kind of device, with one reference.

A sweep that asks another question never replaces the report of a run. With `--out` it is refused. The default
directory is chosen so that what differs is kept apart.

Earlier versions did not record the kind of device, and gave cells of CPUs and GPUs the same names. A run of theirs that
used a GPU is read and reported as before. It is not continued: its cells have other names now, and a CPU would go on
from its checkpoints.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysearch.core import UserError
from raysearch.runs import heartbeat, raised_seeds, results, run_location
from raysearch.runs.study_record import ExplanationRecord, StudyRecord
from raysearch.studies.analysis import devices
from raysearch.studies.configs import paths

_MOST_SHOWN = 3  # settings in a message
_EARLIER_GPU = "gpu"  # of a run that recorded no kind of device
_DEVICES = {"cpu": "CPU", "cuda": "GPU", _EARLIER_GPU: "GPU, in an earlier version"}


@dataclass(frozen=True)
class ChosenRun:
    """The run that a sweep writes to.

    Attributes:
        location: the run.
        note: what the user should know of the choice; empty if there is nothing.
    """

    location: run_location.RunLocation
    note: str = ""


def choose_run(out: str | None, record: StudyRecord, embedded: bool) -> ChosenRun:
    """Return the run that `--out` names, or the default one: a new one, or the one that the same question began.

    The default is `runs/STUDY-PROFILE` for the embedded data set, else `runs/STUDY-PROFILE-DATA`.

    Args:
        out: path or URI; None for the default.
        record: the record that the run would get.
        embedded: whether the data set is the embedded one.

    Raises:
        UserError: the run of `--out` holds something else, its `study.json` cannot be read, or the run has results
            and other looks, or none; see `raised_seeds.check_looks`.
    """
    chosen = _choose_run(out, record, embedded)
    _check_looks(chosen.location, record)
    return chosen


def _choose_run(out: str | None, record: StudyRecord, embedded: bool) -> ChosenRun:
    if out is not None:
        location = run_location.RunLocation(out)
        location.fetch()
        differences = _conflicts(location.directory, record)
        if differences:
            raise UserError(
                f"--out '{location}' holds another run, whose report would be replaced ({'; '.join(differences)}); "
                "give another --out, or remove that directory"
            )
        return ChosenRun(location)
    first = Path("runs") / f"{record.study}-{record.profile}"
    default = first if embedded else first.with_name(f"{first.name}-{_data_name(record)}")
    if not embedded and (first / "study.json").is_file() and not find_differences(_read_earlier(first), record):
        return ChosenRun(run_location.RunLocation(first))  # begun by a version whose default did not depend on the data
    path = default
    number = 1
    differences = []
    while conflicts := _conflicts(path, record):
        differences = differences or conflicts
        number += 1
        path = default.with_name(f"{default.name}-{number}")
    note = f"'{default}' holds another run ({'; '.join(differences)}); this one is '{path}'" if differences else ""
    return ChosenRun(run_location.RunLocation(path), note)


def find_differences(earlier: StudyRecord, record: StudyRecord) -> list[str]:
    """Return why two records are of different questions, each in a few words; empty if the second continues the first.

    Seeds, levels and the number of trials may differ. What an older version did not record is not compared.

    Args:
        earlier: the record of a run.
        record: the record of what is asked now.
    """
    pairs: dict[str, tuple[Any, Any]] = {
        "study": (earlier.study, record.study),
        "kind": (earlier.kind, record.kind),
        "task": (earlier.task, record.task),
        "profile": (earlier.profile, record.profile),
        "device": (_device_words(earlier), _device_words(record)),
        "data": (earlier.data.content_hash, record.data.content_hash),
    }
    if record.kind == "search":
        pairs |= {
            "seeds": (earlier.seeds or None, record.seeds),
            "metric": (earlier.metrics or None, record.metrics),
            "mode": (earlier.modes or None, record.modes),
            "group": (earlier.group, record.group),
            "space": (earlier.space or None, record.space or None),
            "function of the space": (earlier.space_digest, record.space_digest),
        }
    if record.explanation is not None and earlier.explanation is not None:
        pairs["changes"] = _changes_of(earlier.explanation), _changes_of(record.explanation)
    differences = []
    for name, (before, now) in pairs.items():
        if before is not None and now is not None and before != now:
            words = _data_words(earlier, record) if name == "data" else f"{_short(before)}, here {_short(now)}"
            differences.append(f"{name}: {words}")
    if "settings" in earlier.model_fields_set and not differences:
        differences += _setting_differences(earlier.settings, record.settings)
    if not differences:
        differences += _reference_differences(earlier, record)
    return differences


def same_question(directories: Iterable[str], record: StudyRecord) -> list[Path]:
    """Return the runs that ask the same question as a record, such as one with fewer seeds.

    Args:
        directories: of runs.
        record: of the study at hand.

    Raises:
        UserError: a `study.json` cannot be read.
    """
    return [Path(path) for path in directories if not find_differences(_read_earlier(Path(path)), record)]


def _check_looks(location: run_location.RunLocation, record: StudyRecord) -> None:
    """Raise a UserError if the run was begun with other looks, and somebody may have seen a result of it."""
    directory = location.directory
    if not (directory / "study.json").is_file():
        return
    earlier = results.read_study(directory)
    if heartbeat.working(directory) or _has_results(directory, earlier):
        raised_seeds.check_looks(earlier, record, location)


def _conflicts(directory: Path, record: StudyRecord) -> list[str]:
    """Return why a directory cannot be written to; empty if it is free, or its run has no result to lose."""
    if not (directory / "study.json").is_file():
        return []
    earlier = _read_earlier(directory)
    differences = find_differences(earlier, record)
    has_checkpoints = earlier.device == _EARLIER_GPU  # which a CPU must not continue from
    if not differences or has_checkpoints or heartbeat.working(directory) or _has_results(directory, earlier):
        return differences
    return []


def _read_earlier(directory: Path) -> StudyRecord:
    """Return the record of a run; of one that did not record its kind of device with the one that its cells show."""
    record = results.read_study(directory)
    if record.device is not None:
        return record
    ended = results.read_cells(directory / "cells", [cell.cell for cell in record.cells]).values()
    gpus = record.hardware.get("gpus") if not ended else any(devices.kind_of(row) != "cpu" for row in ended)
    return record.changed({"device": _EARLIER_GPU}) if gpus else record


def _changes_of(explanation: ExplanationRecord) -> dict[str, str]:
    """Return the changes that an explanation is about, by the name of their group and their own."""
    return {
        f"{group.label} {change.name}".strip(): json.dumps(change.after, default=str)
        for group in explanation.groups
        for change in group.changes
    }


def _device_words(record: StudyRecord) -> str | None:
    if record.device is None:
        return None
    name = _DEVICES.get(record.device, record.device)
    return f"{name} in {record.precision}" if record.device == "cuda" and record.precision else name


def _has_results(directory: Path, record: StudyRecord) -> bool:
    ended = results.read_cells(directory / "cells", [cell.cell for cell in record.cells])
    return any(row["status"] != "failed" for row in ended.values())


def _data_name(record: StudyRecord) -> str:
    """Return the data set's name as a part of a file name; a manifest may come from elsewhere."""
    name = re.sub(r"[^\w.-]+", "-", record.data.name or "").strip(".-_")[:40]
    return name or str(record.data.content_hash)[:8]


def _data_words(earlier: StudyRecord, record: StudyRecord) -> str:
    names = [earlier.data.name or "unnamed", record.data.name or "unnamed"]
    hashes = [str(data.content_hash)[:8] for data in (earlier.data, record.data)]
    if names[0] == names[1]:
        return f"'{names[0]}' of hash {hashes[0]}, here of hash {hashes[1]}"
    return f"'{names[0]}', here '{names[1]}'"


def _setting_differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    plain = json.loads(json.dumps(dict(now), default=str))
    changed = [path for path in (*earlier, *plain) if not _is_same(earlier.get(path), plain.get(path))]
    return _listed("--set", {path: (earlier.get(path), plain.get(path)) for path in changed})


def _reference_differences(earlier: StudyRecord, record: StudyRecord) -> list[str]:
    """Compare the configs of the reference, where both records have it under the same name."""
    configs = []
    for study in (earlier, record):
        reference_configs = [variant.config for variant in study.variants if variant.name == study.reference]
        configs.append(paths.flatten(reference_configs[0]) if reference_configs else {})
    if earlier.reference != record.reference:
        return []
    before, now = configs
    common = [path for path in before if path in now]
    changed = {path: (before[path], now[path]) for path in common if not _is_same(before[path], now[path])}
    return _listed("reference", changed)


def _is_same(before: Any, now: Any) -> bool:
    """Return whether two values are equal. Older versions recorded a file as it was named, from whatever folder."""
    if isinstance(before, str) and isinstance(now, str) and Path(before).is_absolute() != Path(now).is_absolute():
        return Path(before).name == Path(now).name
    return before == now


def _listed(name: str, changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    if not changed:
        return []
    shown = [f"{path}={_short(before)}, here {_short(now)}" for path, (before, now) in changed.items()]
    more = [f"{len(shown) - _MOST_SHOWN} more"] if len(shown) > _MOST_SHOWN else []
    return [f"{name}: {', '.join([*shown[:_MOST_SHOWN], *more])}"]


def _short(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{path}: {text}" for path, text in value.items())[:160]
    return str(value)[:80]
