"""A moto account with the stack of clusters/aws/account.yaml, in a network of the stack's or of its owner's."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).parents[2] / "clusters" / "aws" / "account.yaml"
REGION = "us-west-2"
NETWORK = "10.20.0.0/16"  # of the stack, and of its owner's network
ZONES = ("us-west-2a", "us-west-2b", "us-west-2c")
BUCKET = "birds-and-results"
WORKER_TYPES = "g5.2xlarge,g6.2xlarge,g6e.2xlarge"


def make_network(client: Any, public: bool = False) -> dict[str, str]:
    """Make a VPC with a subnet in each zone; return the parameters of the stack that name them.

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
    return {"Vpc": vpc, "Subnets": ",".join(subnets)}


def create(client: Any, name: str = "raysearch", parameters: Mapping[str, str] | None = None) -> str:
    """Make the stack; return the id of its VPC.

    Args:
        client: service -> a client of it.
        name: of the stack.
        parameters: other ones than the defaults.
    """
    image = client("ec2").describe_images(Filters=[{"Name": "name", "Values": ["*ubuntu*"]}])["Images"][0]["ImageId"]
    client("ssm").put_parameter(Name="/test/image", Value=image, Type="String", Overwrite=True)
    # moto has none of AWS's own parameters, and asks for them even where another is given. It takes the zones of
    # another region where none is named, and does not split a default.
    body = re.sub(r"/aws/service/\S+", "/test/image", TEMPLATE.read_text()).replace('!GetAZs ""', f"!GetAZs {REGION}")
    given = {"Bucket": BUCKET, "Image": "/test/image", "WorkerTypes": WORKER_TYPES, **(parameters or {})}
    client("cloudformation").create_stack(
        StackName=name,
        TemplateBody=body,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    group = outputs(client, name)["SecurityGroup"]
    return client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["VpcId"]


def outputs(client: Any, name: str = "raysearch") -> dict[str, str]:
    """Return the outputs of the stack by name."""
    outputs = client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}


def role_of(iam: Any, profile: str) -> dict[str, Any]:
    """Return the role of an instance profile, by its ARN."""
    return iam.get_instance_profile(InstanceProfileName=profile.split("/")[-1])["InstanceProfile"]["Roles"][0]


def templates(client: Any) -> dict[str, str]:
    """Return the names of the account's launch templates by id."""
    listed = client("ec2").describe_launch_templates()["LaunchTemplates"]
    return {template["LaunchTemplateName"]: template["LaunchTemplateId"] for template in listed}
