"""A moto account with a network, and the stack of clusters/aws/account.yaml in it."""

import re
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parents[2] / "clusters" / "aws" / "account.yaml"
REGION = "us-west-2"
NETWORK = "10.20.0.0/16"
ZONES = ("us-west-2a", "us-west-2b", "us-west-2c")


def create(client: Any, public: bool = False) -> str:
    """Make a VPC with a subnet in each zone, and the stack `raysearch`; return the VPC's id.

    Args:
        client: service -> a client of it.
        public: whether the subnets give public addresses.
    """
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock=NETWORK)["Vpc"]["VpcId"]
    subnets = []
    for i, zone in enumerate(ZONES):
        block = f"10.20.{i + 1}.0/24"
        subnets.append(ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone)["Subnet"]["SubnetId"])
        ec2.modify_subnet_attribute(SubnetId=subnets[-1], MapPublicIpOnLaunch={"Value": public})
    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["*ubuntu*"]}])["Images"][0]["ImageId"]
    client("ssm").put_parameter(Name="/test/image", Value=image, Type="String")
    given = {
        "Vpc": vpc,
        "Subnets": ",".join(subnets),
        "Bucket": "birds-and-results",
        "Image": "/test/image",
        "WorkerTypes": "g5.2xlarge,g6.2xlarge",  # as its default, which moto would not split
    }
    client("cloudformation").create_stack(
        StackName="raysearch",
        # moto looks the default up even where another is given, and has none of AWS's own parameters.
        TemplateBody=re.sub(r"/aws/service/\S+", "/test/image", TEMPLATE.read_text()),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    return vpc


def outputs(client: Any) -> dict[str, str]:
    """Return the outputs of the stack by name."""
    outputs = client("cloudformation").describe_stacks(StackName="raysearch")["Stacks"][0]["Outputs"]
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}


def role_of(iam: Any, profile: str) -> dict[str, Any]:
    """Return the role of an instance profile, by its ARN."""
    return iam.get_instance_profile(InstanceProfileName=profile.split("/")[-1])["InstanceProfile"]["Roles"][0]
