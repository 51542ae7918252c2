"""The check of a search before its first trial: sampler, scheduler, space and starting points."""

import builtins
import collections.abc
import inspect
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna
import pydantic
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.core import Problems, UserError, nearest
from raysearch.data.evaluation_limits import DataCounts
from raysearch.engine.drivers import samplers
from raysearch.engine.trials import schedulers
from raysearch.engine.trials.jobs import Objective
from raysearch.studies.configs import TASKS, RunConfig, overrides
from raysearch.studies.configs.plain_values import plain_settings
from raysearch.studies.design import Group, Search, SearchPlan
from raysearch.studies.design.search_methods import SAMPLERS, SCHEDULERS

_DRAWS = 20  # configs that are tried of a space
_ASKS = 3  # suggestions that are asked of a sampler
_STEPS = 100  # of a trial whose number of steps is not known
_SET_BY_US = ("time_attr", "metric", "mode", "max_t", "hyperparam_mutations")  # options of schedulers


def check_search(
    search: Search, plan: SearchPlan | None = None, data: DataCounts | None = None, problems: Problems | None = None
) -> None:
    """Check what the study file could not show.

    Args:
        search: the question, the space and the methods.
        plan: the plan of the search; None, for a search that cannot be planned, leaves out what needs configs.
        data: the images of each class, if they are known.
        problems: takes the mistakes; None raises them.

    Raises:
        UserError: an option, a distribution, a starting point or a draw of the space that cannot be.
    """
    mistakes = Problems() if problems is None else problems
    groups: list[Group | None] = [*plan.groups] if plan is not None else [None]
    space = None
    with mistakes.caught():
        space = _read_space(search)
    if search.sampler in SAMPLERS:
        with mistakes.caught():
            _check_sampler(search, space)
    if search.scheduler in SCHEDULERS:
        for group in groups:
            steps = plan.reference(group).config.steps if plan is not None and group is not None else _STEPS
            _check_scheduler(search, steps, mistakes)
    if isinstance(space, Mapping):
        for path, distribution in space.items():
            with mistakes.caught():
                _check_bounds(path, distribution, search.task)
    for number, start in enumerate(search.starts, start=1):
        with mistakes.caught(f"start {number}"):
            _check_start(start, space)
    if plan is not None and space is not None and not mistakes.messages:
        _try_space(plan, plan.groups[0], space, data, mistakes)
    if problems is None:
        mistakes.raise_all()


def _read_space(search: Search) -> Mapping[str, BaseDistribution] | Callable[[Any], Any]:
    if callable(search.space):
        return search.space
    known = overrides.known_paths(search.task)
    space = {path: domain for path, domain in search.space.items() if path in known}
    sampler = search.sampler if search.sampler in SAMPLERS else "tpe"  # an unknown name is reported elsewhere
    return samplers.distributions(space, sampler)


def _check_sampler(search: Search, space: Any) -> None:
    """Build the sampler, and ask it for a few suggestions."""
    what = f"sampler '{search.sampler}'"
    _check_options(what, search.sampler_options, SAMPLERS[search.sampler].load_build())
    sampler = _try(what, lambda: samplers.build_sampler(search.sampler, search.sampler_options, seed=0))
    if not isinstance(space, Mapping) or not space:
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler, directions=["minimize"] * len(search.metrics))

    def _ask() -> None:
        for _ in range(_ASKS):
            trial = study.ask(fixed_distributions=dict(space))
            study.tell(trial, [0.0] * len(search.metrics))

    _try(what, _ask)


def _check_scheduler(search: Search, steps: int, problems: Problems) -> None:
    """Build the scheduler without options to learn which it has, and then with the study's."""
    assert search.scheduler is not None
    name = search.scheduler
    what = f"scheduler '{name}'"
    objective = Objective(TASKS[search.task].objectives[0], "max")
    mutations = search.space if search.trains_population and not callable(search.space) else None

    def _build(options: Mapping[str, Any]) -> Any:
        return _try(what, lambda: schedulers.build_scheduler(name, objective, steps, options, mutations))

    taken = [option for option in search.scheduler_options if option in _SET_BY_US]
    problems.add(*(f"{what}: '{option}' follows from the study; leave it out" for option in taken))
    with problems.caught():
        if SCHEDULERS[name].load_build().__module__.startswith("raysearch."):  # others name their options themselves
            _check_options(what, search.scheduler_options, type(_build({})))
        if not taken:
            _build(search.scheduler_options)


def _try(what: str, run: Callable[[], Any]) -> Any:
    """Run code of Optuna, Ray or an extension, whose errors become one line.

    Raises:
        UserError: it raised.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from None


def _check_options(what: str, options: Mapping[str, Any], build: Any) -> None:
    """Check names and types of keyword arguments against a signature.

    Raises:
        UserError: an unknown name, or a value of another type; of several mistakes each.
    """
    problems = Problems()
    parameters = inspect.signature(build).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for option, value in options.items():
        if option not in parameters:
            if not takes_all:
                problems.add(f"{what} has no option '{option}'{nearest(option, parameters)}")
            continue
        mistake = _type_mistake(parameters[option], value, build)
        if mistake:
            problems.add(f"{what}: {option}={value!r}: {mistake}")
    problems.raise_all()


class _Names(dict[str, Any]):
    """Names of annotations. One that only type checkers import may be anything."""

    def __missing__(self, name: str) -> Any:
        return Any


def _type_mistake(parameter: inspect.Parameter, value: Any, build: Any) -> str | None:
    """Return why a value cannot be an argument; None if it can, or if its type is not known."""
    function: Any = inspect.getattr_static(build, "__init__") if isinstance(build, type) else build
    function = inspect.unwrap(function)
    names = _Names(vars(builtins) | vars(typing) | vars(collections.abc) | getattr(function, "__globals__", {}))
    try:
        kind: Any = typing.get_type_hints(function, localns=names).get(parameter.name, parameter.empty)
    except Exception:  # an annotation that is no type
        kind = parameter.empty
    if kind is parameter.empty:
        default = parameter.default
        kind = type(default) if type(default) in (bool, int, float, str) else Any
    try:
        pydantic.TypeAdapter(kind, config={"arbitrary_types_allowed": True}).validate_python(value, strict=True)
    except pydantic.ValidationError as error:
        return error.errors()[0]["msg"]
    except Exception:  # a type that pydantic does not know
        return None
    return None


def _check_bounds(path: str, distribution: BaseDistribution, task: str) -> None:
    """Check that a config takes both ends of a distribution, or all of its choices.

    Raises:
        UserError: values that no config takes.
    """
    problems = Problems()
    values: list[Any]
    if isinstance(distribution, CategoricalDistribution):
        values = list(distribution.choices)
    else:
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        values = [distribution.low, distribution.high]
    if isinstance(distribution, FloatDistribution) and not distribution.step:
        inside = 1e-9 * (distribution.high - distribution.low)  # a limit itself may be excluded, and is never drawn
        between = distribution.low + 0.382 * (distribution.high - distribution.low)  # no integer
        values = [distribution.low + inside, between, distribution.high - inside]
        values = [float(f"{value:.6g}") if abs(value) > inside else value for value in values]
    pixels = overrides.is_pixel_size(overrides.known_paths(task)[path])
    for value in values:
        with problems.caught():
            # A size in pixels is scaled to the image, and rounded.
            overrides.check_value(path, round(value) if pixels else value, task, "space")
    problems.raise_all()


def _check_start(start: Mapping[str, Any], space: Any) -> None:
    """Check that a space holds a starting point.

    Raises:
        UserError: a path or a value outside of the space. The message goes on from the name of the start.
    """
    problems = Problems()
    if isinstance(space, Mapping):
        for path in start:
            if path not in space:
                problems.add(f": '{path}' is not in the space{nearest(path, space)}")
        if set(space) - set(start):
            problems.add(f" must set every path of the space: {', '.join(sorted(space))}")
        for path in set(start) & set(space):
            if not _holds(space[path], start[path]):
                problems.add(f": {path}={start[path]!r} is outside of the space: {_describe(space[path])}")
    elif space is not None:
        trial = optuna.trial.FixedTrial(dict(start))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # a value outside of the space is a warning only
                space(trial)
        except (ValueError, UserWarning) as error:
            problems.add(f": {' '.join(str(error).split())}")
        except Exception as error:
            problems.add(f": the function raised {type(error).__name__}: {error}")
        else:
            for path in set(start) - set(trial.params):
                problems.add(f": '{path}' is not asked for by the space{nearest(path, trial.params)}")
    problems.raise_all()


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    """Return whether a distribution can give a value of this type."""
    if isinstance(distribution, CategoricalDistribution):
        return any(type(choice) is type(value) and choice == value for choice in distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kinds = int if isinstance(distribution, IntDistribution) else int | float
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    if not distribution.low <= value <= distribution.high:
        return False
    steps = (value - distribution.low) / distribution.step if distribution.step else 0
    return abs(steps - round(steps)) < 1e-6


def _describe(distribution: BaseDistribution) -> str:
    """Return the values of a distribution in words."""
    if isinstance(distribution, CategoricalDistribution):
        return f"it has {', '.join(map(repr, distribution.choices))}"
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    step = f" in steps of {distribution.step}" if distribution.step and distribution.step != 1 else ""
    kind = "integers " if isinstance(distribution, IntDistribution) else ""
    return f"it has {kind}{distribution.low:g} to {distribution.high:g}{step}"


def _try_space(plan: SearchPlan, group: Group, space: Any, data: DataCounts | None, problems: Problems) -> None:
    """Draw a few times at random, always the same, so that wrong paths and values are found at once."""
    errors = []
    wrong: dict[str, str] = {}  # path -> the first mistake
    known = overrides.known_paths(plan.task)
    with problems.caught():
        for settings in _draws(space):
            mistakes = Problems()
            with mistakes.caught():
                settings = overrides.register_codes(settings, plan.task)
            if mistakes.messages:
                wrong.setdefault("", mistakes.messages[0])
                continue
            for path, value in settings.items():
                with mistakes.caught():
                    overrides.check_paths([path], plan.task, "the space")
                    pixels = overrides.is_pixel_size(known[path]) and isinstance(value, int | float)
                    overrides.check_value(path, round(value) if pixels else value, plan.task, "space")
                if mistakes.messages:
                    wrong.setdefault(path, mistakes.messages[0])
                    break
            if mistakes.messages:
                continue
            try:
                config: RunConfig = plan.variant(group, "a first draw", settings).config
            except UserError as error:  # a combination that cannot be; the search leaves such draws out
                errors.append(error)
                continue
            if data is not None:
                limits = config.limits(data.name, data.classes, data.counts).errors
                problems.add(*(f"space: {error}" for error in limits))
        problems.add(*wrong.values())
        if len(errors) == _DRAWS:
            raise UserError(f"space: none of {_DRAWS} draws can be run: {errors[0]}")


def _draws(space: Any) -> Iterator[dict[str, Any]]:
    """Yield settings that are drawn from a space with a fixed seed.

    Raises:
        UserError: a space that is a function raised, or returned no settings.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(_DRAWS):
        if not callable(space):
            yield study.ask(fixed_distributions=dict(space)).params
            continue
        trial = study.ask()
        try:
            further = space(trial)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"space: the function raised {type(error).__name__}: {error}") from None
        yield {**trial.params, **plain_settings({} if further is None else further, "the settings of the space")}
