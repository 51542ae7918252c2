"""Train one config on this machine, without Ray and without a search.

    python -m raysearch.train retrieval                                  embedded data set, laptop profile
    python -m raysearch.train fewshot --preset lwfm --episodes 600       few-shot recognition
    python -m raysearch.train retrieval --data shards/ --set srem.regions=0 --seed 1
    python -m raysearch.train retrieval --settings                       print every setting with default and reason
    python -m raysearch.train my_study.py --set width=16                 the task of a study file, at its reference
    python -m raysearch.train retrieval --export model.pt                write a model for raysearch.retrieve
    python -m raysearch.train fewshot --export model.pt                  write a model for raysearch.classify
    python -m raysearch.train retrieval --from runs/srem_ablation-laptop --variant srem.regions=0 --export model.pt

With the config and seed of a study's cell, training on a CPU reproduces the cell's numbers bit for bit. --from takes
the config from a run's study.json, and the data set too unless --data is given.
"""

import contextlib
import io
import json
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import typer
from pyarrow.fs import FileType

from raysearch.core import Problems, UserError, atomic, cli, format_seconds
from raysearch.data import class_splits, evaluation_limits, feed, feed_mode, shards, synthetic
from raysearch.data.feed import DecodeSpec
from raysearch.engine.preflight import study_check
from raysearch.inference import export as inference_export
from raysearch.runs import StudyRecord, results, variant_config
from raysearch.storage import Location, cache_dir
from raysearch.studies.configs import (
    TASKS,
    ConfigFormat,
    RunConfig,
    describe_config,
    flatten,
    origins_of,
    overrides,
    presets,
    profile_settings,
    settle_profile,
)
from raysearch.studies.design import Ablation, PlanRequest, load_study, plan_study
from raysearch.tasks import base, registry, user

_USER_FILES = Path("files")  # of a user's task, which asks for them by `run.out` or shows its pictures there
_NO_FIGURES = ("iteration", "phase", "epochs", "seconds", "loss")  # of a step; the loss is shown before all others

app = typer.Typer(add_completion=False)
_log = logging.getLogger("raysearch.train")  # the module is also run as `__main__`


@app.command(
    epilog=cli.examples(
        "raysearch train retrieval --settings",
        "raysearch train retrieval --data shards/ --set srem.regions=0 --export model.pt",
        "raysearch train fewshot --preset lwfm --episodes 600 --export few.pt",
        "raysearch train retrieval --from runs/srem_ablation-laptop --variant srem.regions=0 --export model.pt",
    )
)
def main(
    task: str = typer.Argument(metavar="TASK", help="retrieval, fewshot, pretrain, or a study file"),
    data: str | None = typer.Option(
        None, help="path or URI (s3://...) of shards made by raysearch.ingest; default: the embedded data set"
    ),
    profile: str | None = typer.Option(None, help="laptop or paper: the settings to start from; default: laptop"),
    preset: str | None = typer.Option(None, help="settings of a published method, under --set: " + presets.names()),
    set_: list[str] = typer.Option([], "--set", metavar="PATH=VALUE", help="change a setting of the config"),
    episodes: int | None = typer.Option(None, min=2, help="number of test episodes; short for --set episodes.test=N"),
    seed: int = typer.Option(0, help="seed of everything random"),
    out: Path | None = typer.Option(None, help="file for the trained state"),
    export: Path | None = typer.Option(None, help="file for the trained model, for raysearch.retrieve or .classify"),
    from_: Path | None = typer.Option(None, "--from", metavar="RUN", help="take the config from a study's run"),
    variant: str | None = typer.Option(None, help="variant of RUN; default: the best config of a search"),
    feed_: feed_mode.FeedMode | None = typer.Option(
        None, "--feed", help="keep images in memory, or decode as needed; default: what fits"
    ),
    settings: bool = typer.Option(False, "--settings", help="print every setting as it would run, and stop"),
    form: ConfigFormat = typer.Option(ConfigFormat.TEXT, "--format", help="how --settings prints them"),
) -> None:
    """Train one config. Print one line per step, then the metrics as JSON. `-v` logs all figures of each step."""
    console = cli.console()
    data = cli.absolute(data) if data is not None else None
    from_, out, export = (path.expanduser() if path is not None else None for path in (from_, out, export))
    for path, flag in ((out, "--out"), (export, "--export")):
        if path is not None:
            cli.check_writable(path, flag)
    if task.endswith(".py"):
        task, config, origins = _resolve_study(task, profile, set_)
        record = None
    else:
        config, origins, record = _resolve(task, profile, preset, set_, episodes, from_, variant)
    if export is not None:
        inference_export.check(task)
    if settings:
        console.print(describe_config(config, form, origins))
        return
    manifest = shards.NO_DATA
    images = None
    if data is not None or TASKS[task].needs_images:
        directory = _find_data(config, data, record)
        manifest = shards.read_manifest(directory)
        _check_config(config, evaluation_limits.DataCounts(manifest.name, manifest.classes, manifest.counts))
        images = _open_images(config, directory, manifest, feed_, console)
    with _user_errors_shown(console):
        finished = _train_to_the_end(config, seed, images, console)
        metrics = finished.evaluate()
    if images is not None:
        images.close()
    try:
        if out is not None:
            state = io.BytesIO()
            torch.save(finished.state_dict(), state)
            atomic.write_bytes(out, state.getbuffer())
            console.print(f"wrote {out}: the trained state")
        if export is not None:
            with _user_errors_shown(console):
                purpose = inference_export.save(export, finished, manifest, metrics)
            console.print(f"wrote {export}: {purpose}")
    finally:  # the last line, also when a disk is full
        console.print(json.dumps({name: value for name, value in metrics.items() if isinstance(value, float)}))


def _resolve(
    task: str,
    profile: str | None,
    preset: str | None,
    set_: list[str],
    episodes: int | None,
    from_: Path | None,
    variant: str | None,
) -> tuple[RunConfig, dict[str, str], StudyRecord | None]:
    """Return the config as it runs, where its values come from, and the record of the run that was named.

    Raises:
        UserError: an unknown name, a value that cannot be, or arguments that exclude each other.
    """
    of_preset = presets.settings(preset, task)
    of_user = {**overrides.parse(set_, task), **overrides.test_episodes(episodes, task)}
    given = {**of_preset, **of_user}
    layers = [(f"preset {preset}", of_preset), ("given here", of_user)]
    if from_ is None:
        if variant is not None:
            raise UserError("--variant needs a run; name it with --from RUN")
        name = profile or "laptop"
        lowest = profile_settings(task, name)
        started = overrides.start_from(task, lowest, given)
        config = overrides.resolve(task, settle_profile(task, name, started, given))
        return config, origins_of((f"profile {name}", lowest), *layers), None
    if profile is not None:
        raise UserError("--profile has no effect with --from, because the run's config is complete; leave it out")
    record = results.read_study(from_)
    config = _config_of_run(record, task, variant, given)
    return config, origins_of((f"run {from_}", flatten(config.model_dump())), *layers), record


def _resolve_study(path: str, profile: str | None, set_: list[str]) -> tuple[str, RunConfig, dict[str, str]]:
    """Return the task of a study file, its reference config, and where the config's values come from.

    Raises:
        UserError: the file is no study, or a value that cannot be.
    """
    name, study = load_study(path)
    given = overrides.parse(set_, study.task)
    searched = {} if isinstance(study, Ablation) or callable(study.space) else study.space
    # What a search varies has no single value there, and has one here.
    planned = {setting: value for setting, value in given.items() if setting not in searched}
    plan = plan_study(study, PlanRequest(name, profile or "laptop", planned))
    settings = {**flatten(plan.reference_config.model_dump()), **given}
    config = overrides.resolve(study.task, settings)
    layers = [(f"study {path}", flatten(config.model_dump())), ("given here", given)]
    return study.task, config, origins_of(*layers)


def _find_data(config: RunConfig, data: str | None, record: StudyRecord | None) -> Location:
    """Return where the images are: the data given, that of a run, or the embedded data set.

    Raises:
        UserError: the config cannot run on the embedded data set, or a run's data is not there.
    """
    if data is not None:
        return Location.parse(data)
    if record is not None:
        return _data_of_run(record)
    spec = synthetic.SyntheticSpec(**TASKS[config.task].embedded)
    _check_config(config, synthetic.count_images(spec))  # before any image is drawn
    return Location.parse(synthetic.ensure_shards(spec, cache_dir()))


def _check_config(config: RunConfig, data: evaluation_limits.DataCounts) -> None:
    """Check that a config can run on the data.

    Raises:
        UserError: what keeps it from running; of several mistakes each.
    """
    problems = Problems()
    problems.add(*study_check.config_mistakes(config, data))
    problems.raise_all()


def _open_images(
    config: RunConfig,
    directory: Location,
    manifest: shards.Manifest,
    mode: feed_mode.FeedMode | None,
    console: cli.Console,
) -> base.Feed:
    """Open the images that a config trains on, and print how they are divided and kept."""
    images = config.images
    division = class_splits.partition_of(directory, images.split) if images.split is not None else None
    if division:
        console.print(division.describe())
    for warning in config.data_warnings(manifest, division):
        cli.warn(warning)
    split_of_class = division.of_class if division else None
    sets, decision = feed.open_local(directory, DecodeSpec(images.side, images.zoom), split_of_class, mode)
    console.print(f"images: {decision.describe(sum(map(len, sets.values())), images.side)}")
    split = division.identity if division else ""
    return base.Feed(sets["train"], sets["test"], manifest.content_hash, sets.get("val"), split)


def _train_to_the_end(config: RunConfig, seed: int, images: base.Feed | None, console: cli.Console) -> base.Task:
    """Train a config, and the pre-training that it starts from.

    Raises:
        UserError: the loss is not finite.
    """
    device = _device()
    torch.set_num_threads(1)  # as in a study's workers; more threads add in another order
    feed: Any = images  # None for a user's task that loads its own
    worker = base.Worker(feed, cache_dir() / "features", device, out=_USER_FILES.resolve())
    pre_training = config.starts_from(seed)
    pre_config = pre_training[0] if pre_training else config
    try:
        worker = registry.with_pretrained_backbone(
            config,
            seed,
            worker,
            cache_dir() / "pretrained",
            lambda first: _train(first, pre_config, console, "pre-training "),
        )
        running = registry.build(config, seed, worker)
        _train(running, config, console)
    except base.NonFiniteLoss as error:
        raise UserError(str(error)) from None
    return running


@contextlib.contextmanager
def _user_errors_shown(console: cli.Console) -> Iterator[None]:
    """Print an error of a user's code with the lines of their files, and end the command."""
    try:
        yield
    except user.UserCodeError as error:
        console.print(error.traceback, markup=False, highlight=False, end="")
        raise typer.Exit(1) from None


def _train(running: base.Task, config: RunConfig, console: cli.Console, label: str = "") -> None:
    """Train a task to its end. Print a line per step, of at most 80 columns, and log all figures of the step."""
    spec = TASKS[config.task]
    unit = "epoch" if config.epochs == running.steps else spec.step_name.removeprefix("outer ")
    started = time.monotonic()
    for done in range(1, running.steps + 1):
        report = running.advance()
        if report is None:
            return
        _log.info("%s", "  ".join(f"{name} {_short(value)}" for name, value in report.items()))
        phase = "warmup " if report.get("phase") == "warmup" else ""
        chosen_by = spec.objectives or [name for name in report if name not in _NO_FIGURES]
        metrics = [name for name in (*chosen_by, "accuracy_train") if name in report]
        figures = [f"{name} {_short(report[name])}" for name in ("loss", *metrics[:1]) if name in report]
        seconds = time.monotonic() - started
        left = seconds / done * (running.steps - done)
        time_text = f"{format_seconds(round(left))} left" if left else f"{format_seconds(round(seconds))} in all"
        console.print(" · ".join([f"{label}{phase}{unit} {done}/{running.steps}", *figures, time_text]))


def _config_of_run(record: StudyRecord, task: str, variant: str | None, given: Mapping[str, Any]) -> RunConfig:
    """Return the config of a run's variant.

    Raises:
        UserError: the run is of another task, or has no such variant.
    """
    if record.task != task:
        raise UserError(f"the run's task is {record.task}, not {task}")
    if record.device is not None and record.device != _device().type:
        here = "a CPU" if record.device != "cpu" else "a GPU"
        cli.warn(f"the run used {'GPUs' if here == 'a CPU' else 'CPUs'}; this is {here}, so the numbers will differ")
    if record.code_version != TASKS[task].version:
        versions = f"version {record.code_version} of the task's code; this is version {TASKS[task].version}"
        cli.warn(f"the run used {versions}, so the numbers will differ")
    return variant_config.config_of_variant(record, variant, given)


def _data_of_run(record: StudyRecord) -> Location:
    """Return the location of the run's data set.

    Raises:
        UserError: the data set is no longer there, or has changed.
    """
    location = Location.parse(record.data.recorded_path())
    if location.file_type() != FileType.Directory:
        raise UserError(f"the run's data set is no longer at {location}; give its path with --data")
    if shards.read_manifest(location).content_hash != record.data.content_hash:
        raise UserError(f"{location} holds other data than the run used; give the path of that data with --data")
    return location


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    cli.run(app)
