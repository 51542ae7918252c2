"""Count how often the embedded study finds its planted effect, and how often the null control finds an effect.

    nice -n 15 python benchmarks/controls.py [--quick] [--repetitions 20] [--out benchmarks/results/controls.txt]

A repetition is a study of its own with five seeds that no other repetition has, on the embedded images and with the
laptop profile. It trains the cells that the claims need, one after the other in this process:

- positive control: the reference of `srem_ablation` and "no erasing". The p-value is multiplied by 7, the number of
  comparisons of the whole study, which is the largest factor of Holm's correction. The study itself decides at least
  as often.
- negative control: all variants of `null_control`, with Holm's correction over its comparisons. A repetition errs if
  any of them is decided.

`--cells` names a file of finished cells, one JSON object a line: the same command continues an interrupted run, and two
commands may share a file one after the other. `--control positive` runs one of the two. Seeds count from 2000, so that
no repetition has the seeds 0, 1 and 1000 to 1004, by which the drawings and the schedule were chosen. The last line is
JSON: shares, then the differences of each repetition.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from measuring import machine
from script import make_parser, print_figures

from raysearch.data import feed, shards, synthetic
from raysearch.data.feed import DecodeSpec
from raysearch.storage import cache_dir
from raysearch.studies.analysis import t_tests
from raysearch.studies.configs import TASKS, RunConfig
from raysearch.studies.design import Ablation, load_study
from raysearch.studies.design.ablation_plan import AblationPlan, plan_ablation
from raysearch.studies.statistics import compare
from raysearch.tasks import registry
from raysearch.tasks.base import Feed, Worker

METRIC = "map"
SEEDS = 5
FIRST_SEED = 2000
LEVEL = 0.05


class Control(NamedTuple):
    """A study that is repeated.

    Attributes:
        study: its name.
        variants: that are trained besides the reference; empty for all.
        decides: whether it should decide.
    """

    study: str
    variants: tuple[str, ...]
    decides: bool


CONTROLS = {
    "positive": Control("srem_ablation", ("srem.regions=0",), decides=True),
    "negative": Control("null_control", (), decides=False),
}


class Cells:
    """Trained cells by their hash, in a file that the next run of this script continues."""

    def __init__(self, path: Path, images: Feed) -> None:
        self._path = path
        self._images = images
        lines = path.read_text().splitlines() if path.exists() else []
        self._metrics: dict[str, dict[str, Any]] = {entry["cell"]: entry for entry in map(json.loads, lines)}

    def train(self, name: str, config: RunConfig, seed: int) -> dict[str, Any]:
        """Return the metrics of a cell, which is trained unless the file has it.

        Args:
            name: the hash of the cell.
            config: its config.
            seed: its seed.
        """
        if name not in self._metrics:
            started = time.process_time()
            task = registry.build(config, seed, Worker(self._images, cache_dir() / "features"))
            steps = [task.advance() or {} for _ in range(task.steps)]
            curve = [step["map_validation"] for step in steps]
            entry = {"cell": name, "seed": seed, METRIC: task.evaluate()[METRIC], "curve": curve}
            entry |= {"warm": sum(step["phase"] == "warmup" for step in steps)}
            entry |= {
                "metric_steps": json.dumps(getattr(task, "metric_steps", {})),
                "seconds": time.process_time() - started,
            }
            self._metrics[name] = entry
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        return self._metrics[name]


def load_images(config: RunConfig) -> Feed:
    """Decode the embedded images of the retrieval task."""
    spec = synthetic.SyntheticSpec(**TASKS["retrieval"].embedded)
    directory = synthetic.ensure_shards(spec, cache_dir())
    sets, _ = feed.open_local(directory, DecodeSpec(config.images.side, config.images.zoom), None, None)
    return Feed(sets["train"], sets["test"], shards.read_manifest(directory).content_hash)


def plan(control: Control, repetition: int, data: str) -> AblationPlan:
    """Plan a control with the seeds of a repetition."""
    name, study = load_study(control.study)
    assert isinstance(study, Ablation)
    first = FIRST_SEED + SEEDS * repetition
    return plan_ablation(name, replace(study, seeds=list(range(first, first + SEEDS))), "laptop", data)


def judge(control: Control, repetition: int, cells: Cells, data: str) -> dict[str, Any]:
    """Run a repetition.

    Returns:
        For each variant its mean difference and corrected p-value, the reference's cells, and the seconds of all.

    Raises:
        SystemExit: a variant computes the numbers of the reference, so that it says nothing about errors.
    """
    planned = plan(control, repetition, data)
    wanted = {planned.reference.name, *(control.variants or (variant.name for variant in planned.variants))}
    rows = []
    done = []
    for cell in planned.cells:
        name = cell.variant.name
        if name in wanted:
            entry = cells.train(cell.hash, cell.variant.config, cell.seed)
            done.append((name, entry))
            rows.append({"variant": name, "seed": cell.seed, "status": "finished"} | entry)
    _check_that_variants_differ(done, planned.reference.name)
    table = compare(pa.Table.from_pylist(rows), METRIC, planned.reference.name).to_pylist()
    compared = [row for row in table if row["variant"] != planned.reference.name]
    corrected = t_tests.holm([row["p"] for row in compared], family=planned.comparisons)
    return {
        "decided": any(p is not None and p < LEVEL for p in corrected),
        "p": dict(zip((row["variant"] for row in compared), corrected, strict=True)),
        "difference": {row["variant"]: row["delta"] for row in compared},
        "reference": [entry for name, entry in done if name == planned.reference.name],
        "seconds": [entry["seconds"] for _, entry in done],
    }


def _check_that_variants_differ(done: Sequence[tuple[str, dict[str, Any]]], reference: str) -> None:
    metrics: dict[str, list[float]] = {}
    for name, entry in done:
        metrics.setdefault(name, []).append(entry[METRIC])
    for name, values in metrics.items():
        if name != reference and values == metrics[reference]:
            raise SystemExit(f"{name} has the numbers of the reference in every seed: it controls nothing")


def describe(name: str, control: Control, repetitions: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines that a person reads of a control."""
    decided = sum(repetition["decided"] for repetition in repetitions)
    outcome = "found the planted effect" if control.decides else "decided a difference that does not exist"
    yield f"{name} control ({control.study}): {decided} of {len(repetitions)} repetitions {outcome}"
    for variant in repetitions[0]["difference"]:
        values = [repetition["difference"][variant] for repetition in repetitions]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        largest = max(repetition["p"][variant] for repetition in repetitions)
        yield (
            f"  {variant}: mean difference {statistics.fmean(values):+.4f} ({min(values):+.4f} to {max(values):+.4f}, "
            f"deviation {spread:.4f}), largest corrected p {largest:.3g}"
        )
    references = [entry for repetition in repetitions for entry in repetition["reference"]]
    warm = statistics.fmean(entry["curve"][entry["warm"] - 1] for entry in references)
    last = statistics.fmean(entry["curve"][-1] for entry in references)
    yield f"  reference: validation mAP {warm:.3f} after the warm-up, {last:.3f} at the end"
    seconds = [value for repetition in repetitions for value in repetition["seconds"]]
    yield f"  {len(seconds)} cells of {statistics.median(seconds):.1f} s of a core (median)"


def main() -> None:
    """Run the benchmark."""
    parser = make_parser(__doc__, quick="one repetition of the positive control")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--control", choices=tuple(CONTROLS), action="append", help="run this one; default: both")
    parser.add_argument("--cells", type=Path, help="file of finished cells, to continue")
    parser.add_argument("--out", type=Path, help="file for the lines that are printed")
    arguments = parser.parse_args()
    names = arguments.control or (["positive"] if arguments.quick else list(CONTROLS))
    repetitions = 1 if arguments.quick else arguments.repetitions
    torch.set_num_threads(1)  # as in a study's workers
    lines = [machine(torch.device("cpu"))]
    print(lines[0], flush=True)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        path = arguments.cells or Path(temporary) / "cells.jsonl"
        cells: Cells | None = None
        for name in names:
            control = CONTROLS[name]
            done: list[dict[str, Any]] = []
            for repetition in range(repetitions):
                if cells is None:
                    images = load_images(plan(control, repetition, "none").reference_config)
                    cells = Cells(path, images)
                    data = images.content_hash
                done.append(judge(control, repetition, cells, data))
                print(f"{name} {repetition + 1}/{repetitions}: {done[-1]['difference']} {done[-1]['p']}", flush=True)
            new = list(describe(name, control, done))
            print("\n".join(new), flush=True)
            lines += new
            share = statistics.fmean(repetition["decided"] for repetition in done)
            figures[f"{name}_decided"] = share
            figures[name] = [{key: repetition[key] for key in ("decided", "p", "difference")} for repetition in done]
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")
    print_figures(dict(sorted(figures.items(), key=lambda item: not item[0].endswith("_decided"))))


if __name__ == "__main__":
    main()
