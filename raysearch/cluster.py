"""Fill in a cluster file, and check it and a study on it before it costs money. Write and check a SLURM job.

python -m raysearch.cluster check clusters/aws.yaml
python -m raysearch.cluster check clusters/aws.yaml --study srem_ablation --data s3://bucket/data --out s3://bucket/srem
python -m raysearch.cluster fill clusters/aws.yaml my-cluster.yaml --stack birds --region us-west-2
python -m raysearch.cluster slurm srem_ablation my-job.sbatch --out /shared/runs/srem --gpus 1 --jobs 16
"""

import shlex
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.text import Text

from raysearch import messages
from raysearch.core import UserError, atomic, cli
from raysearch.engine.cluster import slurm
from raysearch.engine.cluster.capacity import TrialResources
from raysearch.engine.drivers import sweep_request
from raysearch.engine.preflight import (
    NodeType,
    aws,
    checks,
    kuberay_yaml,
    launch_templates,
    ray_yaml,
    slurm_job,
    supply_chain,
)
from raysearch.engine.preflight.check_result import CheckResult, CheckStatus, collect, failed, passed, warned

app = typer.Typer(add_completion=False, no_args_is_help=True)

_STYLES = {CheckStatus.PASS: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "bold red"}


@app.command(
    epilog=cli.examples(
        "raysearch cluster check clusters/aws.yaml",
        "raysearch cluster check my-cluster.yaml --study srem_ablation --data s3://bucket/cub --out s3://bucket/srem",
    )
)
def check(
    file: Annotated[Path, typer.Argument(help="a cluster file such as clusters/aws.yaml", metavar="FILE")],
    study: str | None = typer.Option(None, help="a study to run there"),
    profile: str = typer.Option("paper", help="the study's profile"),
    data: str | None = typer.Option(None, help="path or URI of the study's shards"),
    out: str | None = typer.Option(None, help="path or URI of the results"),
    set_: list[str] = typer.Option([], "--set", metavar="PATH=VALUE", help="as in raysearch.sweep"),
    workers: int = typer.Option(1, min=1, help="Ray Train workers per trial"),
    gpus_per_worker: float = typer.Option(1.0, min=0, help="GPUs per worker, or a share of one"),
    max_cost: float | None = typer.Option(None, min=0, metavar="DOLLARS", help="the study's limit"),
    json_: bool = typer.Option(False, "--json", help="print the outcome as a JSON object, for programs"),
) -> None:
    """Check FILE, and a study on its cluster: what is unsafe, missing or too small. Nothing is started or paid for.

    Data and results are reached with this machine's credentials. On AWS, the account's stack and quotas are read.
    """
    data = cli.absolute(data) if data else data
    if study and not data:
        raise UserError("--study needs --data: the study's plan depends on the data")
    results: list[CheckResult] = []
    objects = kuberay_yaml.read_objects(file)
    if objects is not None:
        problems = kuberay_yaml.find_problems(objects)
        results += _file_results(problems)
        results += supply_chain.check_images(kuberay_yaml.images(objects))
        open_names = ray_yaml.open_placeholders(objects)
        # Where a number has yet to be filled in, there is nothing to count.
        types = [] if open_names else kuberay_yaml.node_types(objects)
        max_nodes = sum(node.max_count for node in types[1:])
    else:
        config = ray_yaml.read_cluster_file(file)
        types = ray_yaml.node_types(config)
        max_nodes = config.get("max_workers", 2)
        problems = ray_yaml.find_problems(config, Path.home())
        results += _file_results(problems)
        results += ray_yaml.check_folders(config)
        results += supply_chain.check_commands(config)
        results += collect("versions", lambda: checks.check_versions(config))
        provider = config.get("provider") or {}
        region = str(provider.get("region", ""))
        if provider.get("type") == "aws" and region and not ray_yaml.open_placeholders(config):
            results += collect("account", lambda: launch_templates.check_account(config, region))
        if provider.get("type") == "aws" and not problems:
            client = aws.connect("service-quotas", region)
            results += collect("quotas", lambda: aws.check_quotas(types, max_nodes, client))
    if study and data:
        results += collect("study", lambda: checks.check_study(study, profile, data, set_, workers))
    if out:
        results += collect("results", lambda: checks.check_results(out))
    if types:
        results += _room_and_cost(types, max_nodes, TrialResources(workers, 1, gpus_per_worker), max_cost)
    elif objects is None:
        results.append(warned("GPUs", "on machines of your own, resources are known only after they have joined"))
    _print_results(file, results, "ray up" if objects is None else "kubectl apply", json_)


@app.command(
    epilog=cli.examples(
        "raysearch cluster fill clusters/aws.yaml my-cluster.yaml --stack birds --region eu-central-1",
    )
)
def fill(
    template: Annotated[Path, typer.Argument(help="a file in clusters/, or your own copy of it", metavar="TEMPLATE")],
    out: Annotated[Path, typer.Argument(help="the file to write", metavar="OUT")],
    stack: Annotated[str | None, typer.Option(help="name of the stack made from clusters/aws/account.yaml")] = None,
    region: Annotated[str | None, typer.Option(help="the stack's region")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="the value of placeholder <NAME>")
    ] = None,
) -> None:
    """Replace the placeholders <NAME> of TEMPLATE, by --set and on AWS by the outputs of the account's stack.

    clusters/aws.yaml needs this for another name or a network of your own only.
    """
    cli.check_writable(out, "OUT")
    if kuberay_yaml.read_objects(template) is None:
        ray_yaml.read_cluster_file(template)  # raises if it is not a cluster file
    values: dict[str, str] = {}
    if stack or region:
        if not (stack and region):
            raise UserError("--stack and --region go together")
        values = aws.stack_outputs(stack, region)
    for setting in set_ or []:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set '{setting}': use NAME=VALUE")
        values[name] = value
    filled = ray_yaml.fill_placeholders(template.read_text(encoding="utf-8"), values)
    missing = ray_yaml.open_placeholders(list(yaml.safe_load_all(filled)))
    if missing and stack:
        names = ", ".join(missing)
        raise UserError(f"stack '{stack}' has no output {names}; update it with clusters/aws/account.yaml")
    if missing:
        raise UserError(f"no value for {', '.join(missing)}; use --set {missing[0]}=...")
    atomic.write_text(out, filled)
    cli.console().print(f"wrote {out}; check it with: python -m raysearch.cluster check {out}")


@app.command(
    "slurm",
    epilog=cli.examples(
        "raysearch cluster slurm srem_ablation my-job.sbatch --out /shared/runs/srem --jobs 16 --gpus 1",
        "raysearch cluster slurm srem_ablation my-job.sbatch --out /shared/runs/srem --nodes 2 --gpus 4 --workers 2",
    ),
)
def write_slurm_job(
    study: Annotated[str, typer.Argument(help="a study, as in raysearch.sweep", metavar="STUDY")],
    file: Annotated[Path, typer.Argument(help="the job file to write", metavar="FILE")],
    out: Annotated[str, typer.Option(help="run directory that all nodes see")],
    data: str | None = typer.Option(None, help="shards that all nodes see; default: the embedded data set"),
    profile: str | None = typer.Option(None, help="the study's profile"),
    set_: list[str] = typer.Option([], "--set", metavar="PATH=VALUE", help="as in raysearch.sweep"),
    seeds: int | None = typer.Option(None, min=1, help="as in raysearch.sweep"),
    workers: int = typer.Option(1, min=1, help="Ray Train workers per trial"),
    nodes: int = typer.Option(1, min=1, help="nodes of the job"),
    jobs: int = typer.Option(1, min=1, help="independent jobs of one node each, which share the cells"),
    cpus: int = typer.Option(4, min=1, help="CPUs per node"),
    gpus: int = typer.Option(0, min=0, help="GPUs per node"),
    memory: int = typer.Option(16, min=1, help="GiB of memory per node"),
    hours: float = typer.Option(4.0, min=0.1, help="time limit of a job, which is queued again until the study ends"),
    cell_minutes: float | None = typer.Option(
        None, min=0, help="minutes of a cell; default: measured, if --out has any"
    ),
    partition: str | None = typer.Option(None, metavar="NAME", help="default: SLURM's"),
    account: str | None = typer.Option(None, metavar="NAME", help="default: SLURM's"),
) -> None:
    """Write a job for `sbatch` that runs STUDY, and check it. Run this in a checkout, on a login node."""
    cli.check_writable(file, "FILE")
    job = slurm_job.JobRequest(nodes, jobs, cpus, memory, gpus, hours, partition, account)
    out = cli.absolute(out)
    results = collect(
        "study",
        lambda: slurm_job.check_sweep(
            sweep_request.SweepRequest(study, profile, data, out, seeds, settings=set_, workers=workers),
            job,
            cell_minutes,
        ),
    )
    results += collect("partition", lambda: slurm_job.check_request(job))
    words = [study, "--out", out, *(("--data", cli.absolute(data)) if data else ())]
    for name, value in (("--profile", profile), ("--seeds", seeds), ("--workers", workers if workers > 1 else None)):
        words += [name, str(value)] if value is not None else []
    words += [word for setting in set_ for word in ("--set", setting)]
    atomic.write_text(file, slurm_job.write_job(slurm_job.template(job), job.options(), words))
    cli.console().print(f"wrote {file}; submit it with: sbatch {file}")
    _print_results(file, results, "sbatch")


@app.command("slurm-run", context_settings={"ignore_unknown_options": True})
def slurm_run(
    command: Annotated[list[str], typer.Argument(help="and its words, after --", metavar="COMMAND...")],
) -> None:
    """Run COMMAND with a Ray on all nodes of this SLURM job. clusters/slurm.sbatch calls it."""
    raise typer.Exit(slurm.run_command(command, slurm.SlurmRay(slurm.SlurmJob.current())))


def _file_results(problems: list[str]) -> list[CheckResult]:
    return [failed("file", problem) for problem in problems] or [passed("file", "complete, and no problem found")]


def _room_and_cost(
    types: list[NodeType], max_nodes: int, demand: TrialResources, max_cost: float | None
) -> list[CheckResult]:
    return [
        *collect("GPUs", lambda: checks.check_gpus(types, demand)),
        *collect("cost", lambda: checks.check_cost(types, max_nodes, max_cost)),
    ]


def _print_results(file: Path, results: list[CheckResult], command: str, json_: bool = False) -> None:
    """Print a line per result, or all as JSON.

    Raises:
        UserError: a check failed.
    """
    console = cli.console(stderr=json_)
    for result in results:
        line = Text(f"{result.status.value}  {result.check:8}  ", style=_STYLES[result.status])
        console.print(line.append(result.message, style="default"))
    failures = sum(result.status is CheckStatus.FAIL for result in results)
    if json_:
        checks = [
            messages.CheckedSubject(subject=result.check, status=result.status.value, message=result.message)
            for result in results
        ]
        start = f"{command}{' -f' if command.startswith('kubectl') else ''} {shlex.quote(str(file))}"
        messages.JsonLines().emit(
            messages.CheckMessage(file=str(file), passed=not failures, checks=checks, next=None if failures else start)
        )
    if failures:
        message = f"{file}: {failures} checks failed" if failures > 1 else f"{file}: 1 check failed"
        if json_:
            cli.exit_with_error(message)  # the outcome is printed, and stays the last line
        raise UserError(message)
    console.print(f"{file} is ready for {command}")


if __name__ == "__main__":
    cli.run(app, on_error=messages.print_error)
