"""A job file for SLURM, from clusters/slurm.sbatch or clusters/slurm_array.sbatch, and checks before it runs."""

import math
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysearch.core import UserError, format_seconds, nearest
from raysearch.engine.drivers import sweep_request
from raysearch.engine.preflight import shared_folders
from raysearch.engine.preflight.check_result import CheckResult, failed, passed, warned
from raysearch.runs import results
from raysearch.studies.design import AblationPlan, SearchPlan

_OPTION = re.compile(r"^#SBATCH --([\w-]+)(?:=(.*))?$", re.MULTILINE)
_WARNING_SECONDS = 120  # --signal of the job files
RESTARTS = 50  # of the job files
_ANSWER_SECONDS = 30


@dataclass(frozen=True)
class JobRequest:
    """The resources that a study asks of SLURM.

    Args:
        nodes: of each job.
        jobs: of an array; 1 is no array.
        cpus: per node.
        memory: GiB per node.
        gpus: per node.
        hours: time limit of a job; it is queued again until the study is complete.
        partition: None is SLURM's default.
        account: to be charged; None is SLURM's default.
    """

    nodes: int = 1
    jobs: int = 1
    cpus: int = 4
    memory: int = 16
    gpus: int = 0
    hours: float = 4.0
    partition: str | None = None
    account: str | None = None

    def __post_init__(self) -> None:
        if self.nodes > 1 and self.jobs > 1:
            raise UserError("--nodes and --jobs: the jobs of an array have one node each; use one of the two")

    def options(self) -> dict[str, str]:
        """Return the options of sbatch."""
        minutes = max(1, math.ceil(60 * self.hours))
        options = {
            "nodes": str(self.nodes),
            "cpus-per-task": str(self.cpus),
            "mem": f"{self.memory}G",
            "time": f"{minutes // 60:02}:{minutes % 60:02}:00",
        }
        if self.jobs > 1:
            options["array"] = f"0-{self.jobs - 1}"
        if self.gpus:
            options["gpus-per-node"] = str(self.gpus)
        named = {"partition": self.partition, "account": self.account}
        return options | {name: value for name, value in named.items() if value}


def write_job(template: str, options: Mapping[str, str], words: Sequence[str]) -> str:
    """Return a job file with its options, and with the words of the sweep in it.

    Args:
        template: text of a job file.
        options: of sbatch, without dashes. Others stay as they are.
        words: of `raysearch sweep`.

    >>> print(write_job("#SBATCH --nodes=1\\nrun", {"nodes": "2", "partition": "gpu"}, ["my study.py"]))
    #SBATCH --nodes=2
    #SBATCH --partition=gpu
    set -- 'my study.py' "$@"
    run
    """
    remaining = dict(options)
    text = _OPTION.sub(
        lambda line: f"#SBATCH --{line[1]}={remaining.pop(line[1])}" if line[1] in remaining else line[0], template
    )
    end = max(match.end() for match in _OPTION.finditer(text))
    added = [f"#SBATCH --{name}={value}" for name, value in remaining.items()]
    lines = [*added, f'set -- {shlex.join(words)} "$@"']
    return "\n".join([text[:end], *lines]) + text[end:]


def template(request: JobRequest) -> str:
    """Return the text of the job file that fits a request.

    Raises:
        UserError: this is not a checkout of raysearch.
    """
    path = Path("clusters") / ("slurm_array.sbatch" if request.jobs > 1 else "slurm.sbatch")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); run this in a checkout of raysearch") from None


def check_sweep(
    sweep: sweep_request.SweepRequest, request: JobRequest, cell_minutes: float | None
) -> Iterator[CheckResult]:
    """Check the study of a job, its folders, and its time.

    Args:
        sweep: what the job runs.
        request: the job's resources.
        cell_minutes: of a cell; None looks into the run directory.

    Raises:
        UserError: the study cannot run.
    """
    assert sweep.out is not None
    checked = sweep_request.check(sweep)
    plan = checked.plan
    yield passed("study", f"{plan.study}: {plan.summary()}")
    for name, place in [("--out", sweep.out), *(("--data", place) for place in checked.data.places.values())]:
        if place is not None and "://" not in place:
            yield from shared_folders.check_folder(name, Path(place))
    seconds = measured_seconds(Path(sweep.out)) if cell_minutes is None else 60 * cell_minutes
    cells = (
        plan.most_cells if isinstance(plan, SearchPlan) else len(plan.cells) if isinstance(plan, AblationPlan) else 0
    )
    yield from check_time(request, cells, seconds, sweep.workers)


def check_request(request: JobRequest) -> Iterator[CheckResult]:
    """Check a request against the partition and its nodes, as far as SLURM answers on this machine.

    Raises:
        UserError: there is no such partition.
    """
    try:
        partitions = _records(_ask("scontrol", "show", "partition", "--oneliner"))
    except UserError as error:
        yield warned("partition", f"not checked: {error}")
        return
    name = request.partition or next(
        (key for key, fields in partitions.items() if fields.get("Default") == "YES"), None
    )
    if name is None:
        raise UserError(f"the cluster has no default partition; give --partition: {', '.join(sorted(partitions))}")
    if name not in partitions:
        raise UserError(f"no partition '{name}'{nearest(name, partitions)}; there are {', '.join(sorted(partitions))}")
    partition = partitions[name]
    state = partition.get("State", "UP")
    yield passed("partition", f"{name} is up") if state == "UP" else failed("partition", f"{name} is {state}")
    limit = _seconds(partition.get("MaxTime", "UNLIMITED"))
    if request.hours * 3600 > limit:
        yield failed("time", f"--hours {request.hours:g} is more than {name} allows, {format_seconds(round(limit))}")
    yield from _check_nodes(request, name)
    config = dict(line.split("=", 1) for line in _ask("scontrol", "show", "config").splitlines() if "=" in line)
    requeue = {key.strip(): value.strip() for key, value in config.items()}.get("JobRequeue", "1")
    if requeue == "0":
        yield warned("requeue", "JobRequeue=0 here: --requeue in the file asks for it, and the site may refuse it")


def _check_nodes(request: JobRequest, partition: str) -> Iterator[CheckResult]:
    """Check that enough nodes of a partition have what a job asks of each."""
    lines = _ask("sinfo", "--noheader", "--Node", f"--partition={partition}", "--format=%N|%c|%m|%G").splitlines()
    nodes = {
        name: (int(cpus), int(memory), _count_gpus(gres))
        for name, cpus, memory, gres in (line.split("|") for line in lines)
    }
    fitting = [
        name
        for name, (cpus, memory, gpus) in nodes.items()
        if cpus >= request.cpus and memory >= request.memory * 1024 and gpus >= request.gpus
    ]
    need = f"{request.cpus} CPUs, {request.memory} GiB and {request.gpus} GPUs"
    if len(fitting) >= request.nodes:
        yield passed("nodes", f"{len(fitting)} of {len(nodes)} nodes of {partition} have {need}")
    else:
        largest = [max(column, default=0) for column in zip(*nodes.values(), strict=True)] or [0, 0, 0]
        yield failed(
            "nodes",
            f"{len(fitting)} of {len(nodes)} nodes of {partition} have {need}, the job needs {request.nodes}; the most "
            f"of a node are {largest[0]} CPUs, {largest[1] / 1024:.0f} GiB and {largest[2]} GPUs",
        )


def check_time(request: JobRequest, cells: int, cell_seconds: float | None, workers: int) -> Iterator[CheckResult]:
    """Check the time limit against the time of a cell, and print the restarts and GPU hours of the study.

    Args:
        request: the resources.
        cells: of the study.
        cell_seconds: of a cell; None if it is not known.
        workers: CPUs or GPUs of a trial.
    """
    per_job = max(1, (request.gpus or request.cpus) * request.nodes // workers)
    at_once = min(cells, per_job * request.jobs)
    limit = 3600 * request.hours - _WARNING_SECONDS
    gpus = request.gpus * request.nodes * request.jobs
    if limit <= _WARNING_SECONDS:
        yield failed("time", f"--hours {request.hours:g} leaves no time: the job stops two minutes before the limit")
    yield passed("trials", f"{at_once} at a time")
    most = f"{RESTARTS} restarts of a job at most, {(RESTARTS + 1) * request.hours * gpus:,.0f} GPU hours"
    if cell_seconds is None:
        yield warned("time", f"the time of a cell is not known; give --cell-minutes. {most}")
        return
    total = math.ceil(cells / at_once) * cell_seconds
    starts = max(1, math.ceil(total / max(limit, 1.0)))
    text = f"{cells} cells of {format_seconds(round(cell_seconds))} take {format_seconds(round(total))}"
    text += f": {starts - 1} restarts of each job, {total / 3600 * gpus:,.1f} GPU hours"
    if starts - 1 > RESTARTS:
        yield failed("time", f"{text}; a job restarts {RESTARTS} times, so use more --hours or --jobs")
    elif cell_seconds > limit:
        yield warned("time", f"{text}; a cell is longer than a job, so each goes on from its last step after a restart")
    else:
        yield passed("time", text)


def measured_seconds(out: Path) -> float | None:
    """Return the mean time of the cells that have finished in a run directory; None if there are none."""
    if not (out / "study.json").is_file():
        return None
    table = results.load(out)
    pairs = zip(table["status"].to_pylist(), table["seconds"].to_pylist(), strict=True) if table.num_rows else ()
    seconds = [value for status, value in pairs if status == "finished"]
    return sum(seconds) / len(seconds) if seconds else None


def _records(text: str) -> dict[str, dict[str, str]]:
    """Return the records of `scontrol show partition` by their names."""
    lines = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in text.splitlines()]
    return {fields["PartitionName"]: fields for fields in lines if "PartitionName" in fields}


def _seconds(text: str) -> float:
    """Return a time of SLURM in seconds.

    >>> _seconds("2-01:00:00"), _seconds("00:30:00"), _seconds("UNLIMITED")
    (176400.0, 1800.0, inf)
    """
    if not text[:1].isdigit():
        return math.inf
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = ([*clock.split(":"), "0", "0"])[:3]
    return float(int(days or 0) * 86_400 + int(hours) * 3600 + int(minutes) * 60 + int(seconds))


def _count_gpus(gres: str) -> int:
    """Return the GPUs in a node's list of generic resources.

    >>> _count_gpus("gpu:a100:4(S:0-1),nvme:1"), _count_gpus("gpu:2"), _count_gpus("(null)")
    (4, 2, 0)
    """
    items = [re.sub(r"\(.*", "", item).split(":") for item in re.sub(r"\([^)]*\)", "", gres).split(",")]
    return sum(int(item[-1]) if item[-1].isdigit() else 1 for item in items if item[0] == "gpu")


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ANSWER_SECONDS).stdout
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not installed here; run this on a login node") from None
    except subprocess.SubprocessError as error:
        reason = str(getattr(error, "stderr", "") or error).strip().splitlines()
        raise UserError(f"{command[0]} does not answer: {reason[-1]}") from None
