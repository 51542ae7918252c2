"""A user's function or class as the task of a study: `task=train`, or `task="my_task.py:train"`.

The study gives it a config class, made of the settings that it names, and a `TaskSpec` under the name of the code. The
code runs in workers; here it is only found and its signature is checked.
"""

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raysearch.core import Problems, UserError, type_of, user_code
from raysearch.studies.configs import TASKS, TaskSpec, load_object
from raysearch.studies.configs.user import metric_names
from raysearch.studies.configs.user.config import make_config_class

UNREADABLE = "(unreadable)"  # the name of a task whose mistakes are reported already
_BUILD = "raysearch.tasks.user.function_task:build_from_plain"


@dataclass(frozen=True)
class UserTaskSpec(TaskSpec):
    """The task of a user.

    Args:
        code: the function or class.
        typed_code: the dataclass or pydantic model that its settings become; None for a dict.
        metrics: metrics that it has to return.
    """

    code: user_code.UserCode | None = None
    typed_code: user_code.UserCode | None = None
    metrics: tuple[str, ...] = ()

    def plain_build(self) -> Callable[..., Any]:
        """Return `(plain config, seed, worker) -> Task`, which can be sent to any machine."""
        return functools.partial(_build_plain, self.code, self.typed_code, self.metrics)

    def load_build(self) -> Any:
        """Return `(config, seed, worker) -> Task`."""
        build = self.plain_build()
        return lambda config, seed, worker: build(config.model_dump(mode="json"), seed, worker)


def _build_plain(
    code: user_code.UserCode | None,
    typed_code: user_code.UserCode | None,
    metrics: tuple[str, ...],
    config: Mapping[str, Any],
    seed: int,
    worker: Any,
) -> Any:
    """Build a task from a user's code; torch is imported when a worker calls this, not when it is sent there."""
    return load_object(_BUILD)(code, typed_code, metrics, config, seed, worker)


def register_user_task(
    task: object,
    base: object,
    named: Iterable[Mapping[str, Any]],
    profiles: Iterable[str],
    metrics: Iterable[str],
    objectives: Iterable[str],
    folder: Path | None,
    problems: Problems,
) -> tuple[object, object]:
    """Register the task of a study if it is a user's, and return its name and the study's base by dotted path.

    A task of raysearch, or of an extension, and anything that is no task are returned as they are.

    Args:
        task: the study's.
        base: the study's.
        named: settings by dotted path of the reference, the levels and the profiles.
        profiles: names of the study's profiles.
        metrics: that the study compares by.
        objectives: that a search may choose by.
        folder: of the study file.
        problems: takes the mistakes.
    """
    if isinstance(task, str) and (not user_code.is_reference(task) or (task in TASKS and base == {})):
        return task, base
    if not isinstance(task, str) and not callable(task):
        return task, base
    with problems.caught("task: "):
        code = user_code.read_code(task, folder) if isinstance(task, str) else user_code.code_of(task)
        item = user_code.load(code) if isinstance(task, str) else task
        code = user_code.with_declared_version(code, item)
        user_code.set_loaded(code, item)
        _check_signature(item, code)
        config, settings = make_config_class(code.reference, base, named)
        compared = [name for name in metrics if name not in metric_names.TIMES]
        chosen_by = list(objectives)
        paths = [path for path, _ in config.setting_fields()]
        for name in [*compared, *(name for name in chosen_by if name not in metric_names.TIMES)]:
            with problems.caught():
                metric_names.check_name(name, "metric")
                metric_names.check_no_setting([name], paths, "metric")
        typed_code = _typed_code(config.typed, code) if config.typed is not None else None
        ids = {metric: f"{metric}@{code.reference}" for metric in compared}
        TASKS.put(
            code.reference,
            UserTaskSpec(
                name=code.reference,
                config=config,
                version=_version_number(code, typed_code),
                build=_BUILD,
                metric_ids=lambda _config, _split: ids,
                objectives=tuple(chosen_by),
                profiles={"laptop": {}, "paper": {"data.side": 224}} | {name: {} for name in profiles},
                needs_images=False,
                step_name="step",
                code=code,
                typed_code=typed_code,
                metrics=tuple(compared),
            ),
        )
        return code.reference, settings
    return UNREADABLE, {}


def _typed_code(typed: type, code: user_code.UserCode) -> user_code.UserCode:
    """Return the code of a dataclass or pydantic model; in a worker it is the class that the task's code knows."""
    typed_code = user_code.code_of(typed)
    if typed_code.root == code.root and typed_code.entry in code.files:
        typed_code = replace(typed_code, files=code.files)
    user_code.set_loaded(typed_code, typed)
    return typed_code


def file_digests(task: str) -> dict[str, str]:
    """Return file -> digest of a user's code, or its declared version; nothing for a built-in task."""
    if task not in TASKS:
        return {}
    spec = TASKS[task]
    if not isinstance(spec, UserTaskSpec):
        return {}
    digests: dict[str, str] = {}
    for code in (spec.code, spec.typed_code):
        if code is not None and code.version is not None:
            digests[code.reference] = f"version {code.version}"
        elif code is not None:
            digests |= {name: user_code.source_digest({name: text})[:16] for name, text in code.files.items()}
    return digests


def _version_number(*codes: user_code.UserCode | None) -> int:
    """Return a number that differs for codes that differ; it takes the place of a version in cells."""
    text = " ".join(code.identity for code in codes if code is not None)
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)


def _check_signature(item: Any, code: user_code.UserCode) -> None:
    """Check that the engine can call a task.

    Raises:
        UserError: it takes other arguments.
    """
    if not callable(item):
        raise UserError(f"'{code.reference}' is {type_of(item)}, not a function or class")
    try:
        signature = inspect.signature(item)
    except (TypeError, ValueError):
        return
    is_class = isinstance(item, type)
    arguments = ("config", "seed", "worker") if is_class else ("run",)
    try:
        signature.bind(*arguments)
    except TypeError:
        raise UserError(
            f"'{code.reference}' takes {signature}; it is called as {item.__name__}({', '.join(arguments)})"
        ) from None
    if is_class:
        missing = [name for name in ("advance", "evaluate", "state_dict", "load_state_dict") if not hasattr(item, name)]
        if missing:
            raise UserError(f"class '{code.reference}' has no {', '.join(missing)}; see docs/your_model.md for a task")
