"""Train one config on this machine, without Ray and without a search.

    python -m raysearch.train retrieval                                  embedded data set, laptop profile
    python -m raysearch.train fewshot --preset lwfm --episodes 600       few-shot recognition
    python -m raysearch.train retrieval --data shards/ --set srem.regions=0 --seed 1
    python -m raysearch.train retrieval --settings                       what --set can change, and why it is as it is
    python -m raysearch.train retrieval --export model.pt                a model for raysearch.retrieve
    python -m raysearch.train fewshot --export model.pt                  a model for raysearch.classify
    python -m raysearch.train retrieval --from runs/srem_ablation-laptop --variant srem.regions=0 --export model.pt

With the config and seed of a study's cell it ends with the cell's numbers, bit for bit on a CPU. --from takes the
config, and where --data is left out the data set, from a run's study.json.
"""

import json
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import typer
from pyarrow.fs import FileType
from rich.console import Console

from raysearch.core import cli
from raysearch.core.errors import UserError
from raysearch.data import class_splits, feed, shards, synthetic
from raysearch.data.feed import DecodeSpec
from raysearch.data.feed_mode import FeedMode
from raysearch.inference import export as inference_export
from raysearch.models import backbones
from raysearch.runs import results, variant_config
from raysearch.runs.study_record import StudyRecord
from raysearch.storage import Location, cache_dir
from raysearch.studies.configs import TASKS, RunConfig, overrides, presets
from raysearch.studies.configs.profiles import profile_settings
from raysearch.tasks import registry
from raysearch.tasks.base import Feed, NonFiniteLoss, Task, Worker
from raysearch.tasks.common import pretrained_backbone

app = typer.Typer(add_completion=False)


@app.command()
def main(
    task: str = typer.Argument(metavar="TASK", help="retrieval, fewshot or pretrain"),
    data: str | None = typer.Option(
        None, help="path or URI (as s3://...) of shards, see raysearch.ingest; else the embedded data set"
    ),
    profile: str | None = typer.Option(None, help="laptop or paper: where the settings start; else laptop"),
    preset: str | None = typer.Option(None, help="a method's own settings, under --set: " + presets.names()),
    set_: list[str] = typer.Option([], "--set", metavar="PATH=VALUE", help="change the config"),
    episodes: int | None = typer.Option(None, min=2, help="test episodes; short for --set episodes.test=N"),
    seed: int = typer.Option(0, help="of everything random"),
    out: Path | None = typer.Option(None, help="file for the trained state"),
    export: Path | None = typer.Option(None, help="file for the trained model, for raysearch.retrieve or .classify"),
    from_: Path | None = typer.Option(None, "--from", metavar="RUN", help="take the config from a run of a study"),
    variant: str | None = typer.Option(None, help="which of RUN's variants; else the best of a search"),
    feed_: FeedMode | None = typer.Option(
        None, "--feed", help="images in memory, or decoded as needed; else what fits"
    ),
    settings: bool = typer.Option(False, "--settings", help="print what --set can change, and train nothing"),
) -> None:
    """Train one config and print a line an iteration, then the metrics as JSON."""
    console = Console(highlight=False, soft_wrap=True)
    if settings:
        console.print("\n".join(_settings(task)))
        return
    for path, flag in ((out, "--out"), (export, "--export")):
        if path is not None:
            cli.check_writable(path, flag)
    if export is not None:
        inference_export.check(task)
    given = {**presets.settings(preset, task), **overrides.parse(set_, task), **overrides.test_episodes(episodes, task)}
    if from_ is not None:
        if profile is not None:
            raise UserError("--profile has no effect beside --from: the run's config is complete; leave it out")
        record = results.read_study(from_)
        config = _of_run(record, task, variant, given)
        directory = Location.parse(data) if data is not None else _data_of_run(record)
    else:
        if variant is not None:
            raise UserError("--variant names one of a run's; say which run with --from RUN")
        start = profile_settings(task, profile or "laptop")
        config = overrides.resolve(task, overrides.start_from(task, start, given))
        directory = Location.parse(
            data if data is not None else synthetic.ensure_shards(synthetic.SyntheticSpec(), cache_dir())
        )
    manifest = shards.read_manifest(directory)
    config.check(manifest.name, manifest.classes, manifest.counts)
    backbones.check_weights(*config.backbone)
    wanted = config.images
    divided = class_splits.partition_of(directory, wanted.split) if wanted.split is not None else None
    if divided:
        console.print(divided.describe())
        for warning in divided.warnings(config.backbone[1]):
            print(warning, file=sys.stderr)
    sets, choice = feed.open_local(
        directory, DecodeSpec(wanted.side, wanted.zoom), divided.of_class if divided else None, asked=feed_
    )
    console.print(f"images: {choice.describe(sum(map(len, sets.values())), wanted.side)}")
    images = Feed(
        sets["train"], sets["test"], manifest.content_hash, sets.get("val"), divided.identity if divided else ""
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)  # as in a study's workers: more threads add in another order
    worker = Worker(images, cache_dir() / "features", device)
    try:
        worker = pretrained_backbone.trained(
            config, seed, worker, cache_dir() / "pretrained", lambda task: _train(task, console)
        )
        running = registry.build(config, seed, worker)
        _train(running, console)
    except NonFiniteLoss as error:
        raise UserError(str(error)) from None
    metrics = running.evaluate()
    images.close()
    console.print(json.dumps({name: value for name, value in metrics.items() if isinstance(value, float)}))
    if out is not None:
        torch.save(running.state_dict(), out)
    if export is not None:
        inference_export.save(export, running, manifest, metrics)


def _train(running: Task, console: Console) -> None:
    """Advance a task to its end, a line a step."""
    for _ in range(running.steps):
        report = running.advance()
        console.print("  ".join(f"{name} {_short(value)}" for name, value in report.items()))


def _settings(task: str) -> list[str]:
    """A paragraph a config path: its default, which is the paper's where the paper says, and what it changes."""
    paragraphs = []
    for path, field in overrides.known_paths(task).items():
        says = textwrap.fill(field.description, width=100, initial_indent=" " * 4, subsequent_indent=" " * 4)
        paragraphs += [f"{path}={json.dumps(field.default)}", says]
    return paragraphs


def _of_run(record: StudyRecord, task: str, variant: str | None, given: Mapping[str, Any]) -> RunConfig:
    if record.task != task:
        raise UserError(f"the run is of the task {record.task}, not of {task}")
    if record.code_version != TASKS[task].version:
        versions = f"version {record.code_version} of the task's code, this is {TASKS[task].version}"
        print(f"the run is of {versions}: numbers will differ from its own", file=sys.stderr)
    return variant_config.config_of_variant(record, variant, given)


def _data_of_run(record: StudyRecord) -> Location:
    """Where the run's data set lies, if it is still the same."""
    place = Location.parse(record.data.recorded_path())
    if place.kind() != FileType.Directory:
        raise UserError(f"the run's data set is no longer at {place}; say where with --data")
    if shards.read_manifest(place).content_hash != record.data.content_hash:
        raise UserError(f"{place} holds other data than the run was made of; say with --data where to train")
    return place


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    cli.run(app)
