"""The samplers and schedulers that a search can name, and what must be known of each.

Builders may be named by import path, so that reading a study file imports neither Optuna nor Ray. A sampler or
scheduler of your own is one file, loaded by `--extension FILE`:

    import optuna
    from raysearch.extend import sampler

    @sampler("halton")
    class HaltonSampler(optuna.samplers.QMCSampler):
        def __init__(self, seed=None):
            super().__init__(qmc_type="halton", seed=seed)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from raysearch.core import Registry
from raysearch.studies.configs import Reference, load_object

Builder = TypeVar("Builder", bound=Callable[..., object])
Spec = TypeVar("Spec")


@dataclass(frozen=True)
class SamplerSpec:
    """A sampler of Optuna.

    Args:
        build: the sampler's class or its import path. It takes `seed`, and by keyword the study's `sampler_options`.
        learns_from_pruned: whether it uses configs that were stopped early. Other samplers are given the last value of
            such a config instead; without one they would suggest it again.
        needs_finite_space: whether it enumerates, so that every distribution needs choices or steps.
        learns_from_added: whether it uses trials that it did not suggest. A sampler of generations does not, nor does
            one that uses no trials.
    """

    build: Reference
    learns_from_pruned: bool = False
    needs_finite_space: bool = False
    learns_from_added: bool = True

    def load_build(self) -> Any:
        """Import and return `build`."""
        return load_object(self.build)


@dataclass(frozen=True)
class SchedulerSpec:
    """A scheduler of Ray Tune.

    Args:
        build: `(SchedulerRequest) -> TrialScheduler`, or its import path; see `raysearch.engine.trials.schedulers`.
        resumable: whether its state follows from what ended cells reported. It is then rebuilt when a search continues.
        moves_settings: whether it trains a population, and changes its members' settings while they train.
    """

    build: Reference
    resumable: bool = True
    moves_settings: bool = False

    def load_build(self) -> Any:
        """Import and return `build`."""
        return load_object(self.build)


SAMPLERS = Registry[SamplerSpec]("sampler")
SCHEDULERS = Registry[SchedulerSpec]("scheduler")


def sampler(
    name: str, *, learns_from_pruned: bool = False, needs_finite_space: bool = False, learns_from_added: bool = True
) -> Callable[[Builder], Builder]:
    """Return a decorator that registers a class as the sampler of that name; see `SamplerSpec`.

    Raises:
        UserError: the name is taken.
    """
    return _register_with(
        SAMPLERS,
        name,
        lambda build: SamplerSpec(build, learns_from_pruned, needs_finite_space, learns_from_added),
    )


def scheduler(name: str, *, resumable: bool = True, moves_settings: bool = False) -> Callable[[Builder], Builder]:
    """Return a decorator that registers a function as the scheduler of that name; see `SchedulerSpec`.

    Raises:
        UserError: the name is taken.
    """
    return _register_with(SCHEDULERS, name, lambda build: SchedulerSpec(build, resumable, moves_settings))


def _register_with(
    registry: Registry[Spec], name: str, make_spec: Callable[[Reference], Spec]
) -> Callable[[Builder], Builder]:
    """Return a decorator that registers the spec of what it decorates."""

    def _register(build: Builder) -> Builder:
        registry.register(name, make_spec(build))
        return build

    return _register


SAMPLERS.register("tpe", SamplerSpec("optuna.samplers:TPESampler", learns_from_pruned=True))
SAMPLERS.register("gp", SamplerSpec("optuna.samplers:GPSampler"))
SAMPLERS.register("cmaes", SamplerSpec("raysearch.engine.optuna_internals:CmaEsSampler", learns_from_added=False))
SAMPLERS.register("nsga2", SamplerSpec("optuna.samplers:NSGAIISampler", learns_from_added=False))
SAMPLERS.register("nsga3", SamplerSpec("optuna.samplers:NSGAIIISampler", learns_from_added=False))
SAMPLERS.register("qmc", SamplerSpec("optuna.samplers:QMCSampler", learns_from_added=False))
SAMPLERS.register("random", SamplerSpec("optuna.samplers:RandomSampler", learns_from_added=False))
SAMPLERS.register(
    "grid",
    SamplerSpec("raysearch.engine.drivers.samplers:GridSampler", needs_finite_space=True, learns_from_added=False),
)

SCHEDULERS.register("asha", SchedulerSpec("raysearch.engine.trials.schedulers:build_asha"))
SCHEDULERS.register("hyperband", SchedulerSpec("raysearch.engine.trials.schedulers:build_hyperband"))
SCHEDULERS.register("median", SchedulerSpec("raysearch.engine.trials.schedulers:build_median"))
# The settings of a population's members are in their checkpoints, so there is nothing to rebuild.
SCHEDULERS.register(
    "pbt", SchedulerSpec("raysearch.engine.trials.schedulers:build_pbt", resumable=False, moves_settings=True)
)
