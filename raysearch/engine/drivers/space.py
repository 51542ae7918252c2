"""The space of a search: what Optuna draws from, whether earlier trials are inside, and the identity of the space."""

import dis
import enum
import functools
import hashlib
import importlib
import inspect
import io
import json
import sys
import sysconfig
import textwrap
import tokenize
import types
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.trial import FixedTrial, FrozenTrial

from raysearch.engine.drivers import samplers
from raysearch.studies.configs.plain_values import plain_settings
from raysearch.studies.design import Search

_MAX_DEPTH = 30  # of references from function to function
_OURS = ("raysearch", "optuna", "ray")


class SearchSpace:
    """The space of a search: distributions by path, or a function that asks a trial.

    Args:
        search: the search.

    Raises:
        UserError: a distribution that cannot be searched.
    """

    def __init__(self, search: Search) -> None:
        self.function = search.space if callable(search.space) else None
        self.distributions: dict[str, BaseDistribution] = {}
        if not callable(search.space):
            self.distributions = samplers.distributions(search.space, search.sampler)

    def ask(self, study: optuna.Study) -> tuple[optuna.Trial, dict[str, Any]]:
        """Return a new trial of a study, and the settings that it suggests: dotted path -> value."""
        if self.function is None:
            trial = study.ask(fixed_distributions=self.distributions)
            return trial, trial.params
        trial = study.ask()
        further = self.function(trial)
        return trial, plain_settings({**trial.params, **(further or {})}, "the settings of the space")

    def settings_from(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the settings by which the space gives a config; None if it cannot. `locate` checks their values.

        Args:
            values: dotted path -> value of all settings of the config, in the units of a study file.

        Raises:
            AttributeError: the function asks a trial for more than values, so that nothing is known.
        """
        if self.function is None:
            return (
                {path: values[path] for path in self.distributions}
                if self.distributions.keys() <= values.keys()
                else None
            )
        fixed = FixedTrial(dict(values))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a value out of bounds, which `locate` refuses
                further = plain_settings(self.function(fixed) or {}, "the settings of the space")
        except AttributeError:  # of a study, which only a real trial has
            raise
        except Exception:  # such a value is not taken
            return None
        return {**fixed.params, **further}

    def locate(self, settings: Any, number: int = 0) -> dict[str, BaseDistribution] | None:
        """Return the distributions that settings were drawn from, by path; None if they are outside of the space.

        Args:
            settings: as `ask` returned them, maybe for an earlier form of the space.
            number: of their trial.

        Raises:
            AttributeError: the function asks a trial for more than values, so that nothing is known.
        """
        if not isinstance(settings, dict):
            return None
        drawn: Mapping[str, BaseDistribution] = self.distributions
        try:
            if self.function is not None:
                fixed = FixedTrial(settings, number)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of a value out of bounds, which is refused below
                    further = plain_settings(self.function(fixed) or {}, "the settings of the space")
                if {**fixed.params, **further} != settings:
                    return None
                drawn = fixed.distributions
            elif settings.keys() != drawn.keys():
                return None
            params = {path: settings[path] for path in drawn}
            optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, params=params, distributions=dict(drawn))
        except AttributeError:  # of a study, which only a real trial has
            raise
        except Exception:  # the function asks for another path, or no longer takes such a value
            return None
        return dict(drawn)

    def holds(self, trial: FrozenTrial) -> bool:
        """Return whether a trial that became a config is inside, and Optuna can continue its study in this space."""
        if "settings" not in trial.user_attrs:
            return True
        try:
            distributions = self.locate(trial.user_attrs["settings"], trial.number)
        except AttributeError:
            return True
        if distributions is None:
            return False
        try:
            for path, distribution in distributions.items():
                check_distribution_compatibility(trial.distributions[path], distribution)
        except (ValueError, KeyError):  # such as another list of choices
            return False
        return True

    def identities(self) -> list[Any]:
        """Return plain data that differs for spaces that differ. Further entries are forms that older versions wrote.

        The identity of a function covers its code and all that it refers to: other functions, constants, defaults.
        """
        if self.function is None:
            return [{path: repr(value) for path, value in self.distributions.items()}]
        return [describe_references(self.function), _source(self.function)]

    def digest(self) -> str:
        """Return a short text that differs for spaces that differ."""
        return hashlib.sha256(json.dumps(self.identities()[0], sort_keys=True).encode()).hexdigest()[:12]


def describe_references(value: Any) -> Any:
    """Return a value as plain data. A function is its code, without comments, and the values that it refers to.

    Names of modules stand for libraries. What cannot be described, such as a lock, is its type.
    """
    return _describe(value, {}, ())


def _describe(value: Any, seen: dict[int, Any], above: tuple[int, ...]) -> Any:
    """Describe a value.

    Args:
        value: the value.
        seen: functions, classes and objects that have been described, by `id`.
        above: the values that this one is inside of, by `id`.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | range | Path):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if id(value) in above or len(above) > _MAX_DEPTH:
        return "above"

    def _inner(part: Any) -> Any:
        return _describe(part, seen, (*above, id(value)))

    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(_inner, value)]
    if isinstance(value, set | frozenset):
        return [type(value).__name__, *sorted((_inner(part) for part in value), key=repr)]
    if isinstance(value, Mapping):
        return [type(value).__name__, *([_inner(key), _inner(part)] for key, part in value.items())]
    if isinstance(value, types.ModuleType):
        return f"module {value.__name__}"
    if isinstance(value, types.MethodType):
        return ["method", _inner(value.__func__), _inner(value.__self__)]
    if isinstance(value, functools.partial):
        return ["partial", _inner(value.func), _inner(value.args), _inner(value.keywords)]
    if isinstance(value, property | classmethod | staticmethod):
        return [type(value).__name__, _inner(getattr(value, "fget", None) or getattr(value, "__func__", None))]
    if hasattr(value, "tolist"):  # an array
        return [type(value).__qualname__, _inner(value.tolist())]
    name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    if id(value) in seen:
        return f"again {name}"
    seen[id(value)] = value
    return [name, *map(_inner, _parts(value))]


def _parts(value: Any) -> list[Any]:
    """Return what decides the behavior of a function, a class or an object, besides its name."""
    library = _is_library(getattr(value, "__module__", None) or "builtins")
    if isinstance(value, types.FunctionType) and not library:
        wrapped = getattr(value, "__wrapped__", None)
        references = sorted(_globals_of(value).items())
        return [_code(value), value.__defaults__, value.__kwdefaults__, _closure(value), wrapped, references]
    if isinstance(value, type):
        members = {name: part for name, part in vars(value).items() if not name.startswith("__") or callable(part)}
        return [] if library else [value.__bases__, sorted(members.items(), key=lambda member: member[0])]
    if library and type(value).__module__.partition(".")[0] != "ray":  # Tune's distributions have no text of their own
        text = repr(value)
        return [] if text.startswith("<") else [text]
    slots = {name: getattr(value, name) for name in getattr(value, "__slots__", ()) if hasattr(value, name)}
    state = sorted({**getattr(value, "__dict__", {}), **slots}.items())
    return [type(value), state]


def _closure(function: types.FunctionType) -> dict[str, Any]:
    names = function.__code__.co_freevars
    values = {}
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            values[name] = None
    return values


def _globals_of(function: types.FunctionType) -> dict[str, Any]:
    """Return the values that a function takes from its module and from modules of the user, by name."""
    names = {name for code in _nested_codes(function.__code__) for name in code.co_names}
    values = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for code in _nested_codes(function.__code__):
        for instruction in dis.get_instructions(code):
            if instruction.opname == "IMPORT_NAME" and not _is_library(instruction.argval):
                try:
                    values[instruction.argval] = importlib.import_module(instruction.argval)
                except Exception:  # a relative import, or one that fails when the function is called
                    continue
    for module in [value for value in values.values() if isinstance(value, types.ModuleType)]:
        if not _is_library(module.__name__):
            values |= {f"{module.__name__}.{name}": getattr(module, name) for name in names if hasattr(module, name)}
    return values


def _nested_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested_codes(constant)


def _code(function: types.FunctionType) -> str:
    """Return the text of a function without comments and blank lines; its byte code where the text is not known."""
    try:
        text = textwrap.dedent(inspect.getsource(function.__code__))  # of a decorator, not of what it wraps
    except (OSError, TypeError):
        return function.__code__.co_code.hex() + repr([c for c in function.__code__.co_consts if not inspect.iscode(c)])
    try:
        lines = text.splitlines()
        for token in reversed(list(tokenize.generate_tokens(io.StringIO(text).readline))):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, SyntaxError):  # a lambda in the midst of an expression
        lines = text.splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _is_library(module: str | None) -> bool:
    """Return whether a module belongs to Python, to raysearch, or to an installed package."""
    root = (module or "").partition(".")[0]
    if root in sys.stdlib_module_names or root in _OURS:
        return True
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    installed = [sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")]
    return file is not None and any(Path(file).is_relative_to(folder) for folder in installed)


def _source(space: Any) -> str:
    """Return the identity of a function in older versions: its text, or its name where the text is not known."""
    try:
        return inspect.getsource(space)
    except (OSError, TypeError):
        return getattr(space, "__qualname__", repr(space))
