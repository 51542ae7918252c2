"""Make a file for `ray up` ready, and say what is wrong with it.

python -m raysearch.cluster fill clusters/aws.yaml my-cluster.yaml --stack raysearch --region us-west-2
python -m raysearch.cluster check my-cluster.yaml
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from raysearch import cli
from raysearch.engine import cluster_file
from raysearch.errors import UserError

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def check(file: Annotated[Path, typer.Argument(help="a cluster file, as clusters/aws.yaml", metavar="FILE")]) -> None:
    """List what Ray would refuse in FILE, what is still open, and what would let others in. Reaches nothing."""
    found = cluster_file.problems(cluster_file.read(file), Path.home())
    for problem in found:
        cli.console().print(problem, markup=False)
    if found:
        raise UserError(f"{file}: {len(found)} to put right")
    cli.console().print(f"{file} is ready for ray up", markup=False)


@app.command()
def fill(
    template: Annotated[Path, typer.Argument(help="clusters/aws.yaml, or a copy that you changed", metavar="TEMPLATE")],
    out: Annotated[Path, typer.Argument(help="the file to write", metavar="OUT")],
    stack: Annotated[str, typer.Option(help="name of the stack made of clusters/aws/account.yaml")],
    region: Annotated[str, typer.Option(help="that the stack is in")],
) -> None:
    """Put the outputs of the account's stack into TEMPLATE, with the AWS credentials of the environment."""
    cli.check_writable(out, "OUT")
    config = cluster_file.read(template)
    values = _outputs(stack, region)
    missing = [name for name in cluster_file.open_places(config) if name not in values]
    if missing:
        raise UserError(f"stack '{stack}' has no output {', '.join(missing)}; update it with clusters/aws/account.yaml")
    out.write_text(cluster_file.fill(template.read_text(), values))
    cli.console().print(f"{out} is filled; look at it with: python -m raysearch.cluster check {out}", markup=False)


def _outputs(stack: str, region: str) -> dict[str, str]:
    """Output -> value of a stack, whose subnets were looked at: a node in a public one gets a public address."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise UserError("boto3 is missing, which Ray needs for AWS: python -m pip install 'raysearch[aws]'") from None
    try:
        found = boto3.client("cloudformation", region_name=region).describe_stacks(StackName=stack)["Stacks"][0]
        values = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
        names = values.get("Subnets", "").split(",")
        subnets = boto3.client("ec2", region_name=region).describe_subnets(SubnetIds=names)["Subnets"]
    except (BotoCoreError, ClientError) as error:
        raise UserError(f"AWS does not tell about stack '{stack}' in {region}: {error}") from None
    public = [_name(subnet) for subnet in subnets if subnet.get("MapPublicIpOnLaunch")]
    if public:
        raise UserError(f"{', '.join(public)} gives its nodes public addresses; name private subnets in the stack")
    return values


def _name(subnet: dict[str, Any]) -> str:
    return f"{subnet['SubnetId']} in {subnet['AvailabilityZone']}"


if __name__ == "__main__":
    cli.run(app)
