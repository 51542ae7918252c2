"""Make a cluster's file ready, and say what is wrong with it and with a study on it before any money is spent.

python -m raysearch.cluster fill clusters/aws.yaml my-cluster.yaml --stack raysearch --region us-west-2
python -m raysearch.cluster check my-cluster.yaml
python -m raysearch.cluster check my-cluster.yaml --study srem_ablation --data s3://bucket/data --out s3://bucket/srem
"""

from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.text import Text

from raysearch.core import cli
from raysearch.core.errors import UserError
from raysearch.engine.cluster.connection import TrialResources
from raysearch.engine.preflight import aws_account, aws_quotas, checks, kuberay_yaml, ray_yaml
from raysearch.engine.preflight.check_result import CheckResult, CheckStatus, collect, failed, passed, warned
from raysearch.engine.preflight.node_types import NodeType, node_types

app = typer.Typer(add_completion=False, no_args_is_help=True)

_STYLES = {CheckStatus.GOOD: "green", CheckStatus.OPEN: "yellow", CheckStatus.BAD: "bold red"}


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="a cluster file, as clusters/aws.yaml", metavar="FILE")],
    study: str | None = typer.Option(None, help="a study that shall run there"),
    profile: str = typer.Option("paper", help="of the study"),
    data: str | None = typer.Option(None, help="path or URI of the study's shards"),
    out: str | None = typer.Option(None, help="path or URI that results shall go to"),
    set_: list[str] = typer.Option([], "--set", metavar="PATH=VALUE", help="as raysearch.sweep takes it"),
    workers: int = typer.Option(1, min=1, help="Ray Train workers a trial"),
    gpus_per_worker: float = typer.Option(1.0, min=0, help="share of a GPU"),
    max_cost: float | None = typer.Option(None, min=0, metavar="DOLLARS", help="that the study may cost"),
) -> None:
    """List what is open, unsafe, missing or too small in FILE and for a study: nothing is started, and nothing costs.

    Data and results are reached with this machine's credentials, AWS is asked for the account's quotas.
    """
    if study and not data:
        raise UserError("--study needs --data: what fits depends on it")
    kubernetes = kuberay_yaml.read_objects(file)
    if kubernetes is not None:
        kinds = kuberay_yaml.node_types(kubernetes)
        most, found = sum(one.most for one in kinds[1:]), _of_file(kuberay_yaml.find_problems(kubernetes))
    else:
        config = ray_yaml.read_cluster_file(file)
        kinds, most = node_types(config), config.get("max_workers", 2)
        wrong = ray_yaml.find_problems(config, Path.home())
        found = _of_file(wrong) + collect("versions", lambda: checks.check_versions(config))
        if (config.get("provider") or {}).get("type") == "aws" and not wrong:
            client = aws_account.quotas_client(config["provider"]["region"])
            found += collect("quotas", lambda: aws_quotas.check_quotas(kinds, most, client))
    if study and data:
        found += collect("study", lambda: checks.check_study(study, profile, data, set_))
    if out:
        found += collect("results", lambda: checks.check_results(out))
    if kinds:
        found += _room_and_cost(kinds, most, TrialResources(workers, 1, gpus_per_worker), max_cost)
    else:
        found.append(warned("GPUs", "machines of your own: what they hold shows when they have joined"))
    _tell(file, found, kubernetes is not None)


@app.command()
def fill(
    template: Annotated[Path, typer.Argument(help="clusters/aws.yaml, or a copy that you changed", metavar="TEMPLATE")],
    out: Annotated[Path, typer.Argument(help="the file to write", metavar="OUT")],
    stack: Annotated[str | None, typer.Option(help="name of the stack made of clusters/aws/account.yaml")] = None,
    region: Annotated[str | None, typer.Option(help="that the stack is in")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="for a place <NAME>")] = None,
) -> None:
    """Put values into the places <NAME> of TEMPLATE: by hand, and the outputs of the account's stack on AWS."""
    cli.check_writable(out, "OUT")
    if kuberay_yaml.read_objects(template) is None:
        ray_yaml.read_cluster_file(template)  # says what is wrong with it
    text, values = template.read_text(), dict[str, str]()
    if stack or region:
        if not (stack and region):
            raise UserError("--stack and --region go together")
        values = aws_account.stack_outputs(stack, region)
    for one in set_ or []:
        name, equals, value = one.partition("=")
        if not equals:
            raise UserError(f"--set '{one}': give NAME=VALUE")
        values[name] = value
    filled = ray_yaml.fill_placeholders(text, values)
    missing = ray_yaml.open_placeholders(list(yaml.safe_load_all(filled)))
    if missing:
        where = f"stack '{stack}' has no output {', '.join(missing)}; update it with clusters/aws/account.yaml"
        raise UserError(where if stack else f"nothing to put into {', '.join(missing)}; give --set {missing[0]}=...")
    out.write_text(filled)
    cli.console().print(f"{out} is filled; look at it with: python -m raysearch.cluster check {out}", markup=False)


def _of_file(wrong: list[str]) -> list[CheckResult]:
    return [failed("file", one) for one in wrong] or [passed("file", "whole, and safe as far as it tells")]


def _room_and_cost(
    kinds: list[NodeType], most: int, demand: TrialResources, max_cost: float | None
) -> list[CheckResult]:
    found = collect("GPUs", lambda: checks.check_gpus(kinds, demand))
    return found + collect("cost", lambda: checks.check_cost(kinds, most, max_cost))


def _tell(file: Path, found: list[CheckResult], kubernetes: bool) -> None:
    console = cli.console()
    for one in found:
        line = Text(f"{one.state.value:4}  {one.what:8}  ", style=_STYLES[one.state])
        console.print(line.append(one.says, style="default"), highlight=False)
    wrong = sum(one.state is CheckStatus.BAD for one in found)
    if wrong:
        raise UserError(f"{file}: {wrong} to put right")
    console.print(
        f"{file} is ready for ray up" if not kubernetes else f"{file} is ready for kubectl apply", markup=False
    )


if __name__ == "__main__":
    cli.run(app)
