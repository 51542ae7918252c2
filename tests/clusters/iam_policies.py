"""AWS's rules of access, for the kinds of statements that clusters/aws/account.yaml has.

A request is split into actions on resources in a context, as AWS's "Actions, resources and condition keys for Amazon
EC2" lists them. It is allowed if each part is.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

Context = Mapping[str, str]
Part = tuple[str, str, Context]  # action, resource, context
_HERE = "arn:aws:ec2:us-west-2:123456789012:"


def statements(iam: Any, role: str) -> list[dict[str, Any]]:
    """The statements of a role's own policies."""
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    found = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    # moto keeps what a stack makes as Python's own text of it.
    read = [one if isinstance(one, dict) else ast.literal_eval(one.strip('"')) for one in found]
    return [statement for one in read for statement in one["Statement"]]


def allowed(policy: list[dict[str, Any]], parts: Iterator[Part]) -> bool:
    """Whether every part of a request is allowed; what no statement allows is not."""
    return all(any(_matches(statement, *part) for statement in policy) for part in parts)


def _matches(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    assert statement["Effect"] == "Allow", "this knows no refusals"
    return (
        any(fnmatchcase(action, one) for one in listed(statement["Action"]))
        and any(fnmatchcase(resource, one) for one in listed(statement["Resource"]))
        and all(
            _holds(operator, context.get(key), listed(wanted))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _holds(operator: str, value: str | None, wanted: list[str]) -> bool:
    if operator.endswith("IfExists"):
        return value is None or _holds(operator.removesuffix("IfExists"), value, wanted)
    assert operator in ("StringEquals", "ArnEquals", "Bool"), operator
    return value is not None and any(
        fnmatchcase(value, one) if operator == "ArnEquals" else value == one for one in wanted
    )


def parts(
    form: Mapping[str, str], vpc: str, role: str, tags: Mapping[str, Context], templates: Mapping[str, str]
) -> Iterator[Part]:
    """What a request to EC2 does.

    Args:
        form: of the request, as it is sent.
        vpc: of the subnets that it may name.
        role: ARN of the role in the instance profile that it may name.
        tags: of instances, by id.
        templates: ids of launch templates, by name.
    """
    action = f"ec2:{form['Action']}"
    if form["Action"].startswith("Describe"):
        yield action, "*", {"aws:RequestedRegion": "us-west-2"}
        return
    asked = {f"aws:RequestTag/{key}": value for key, value in _tags(form, "Tag.").items()}
    for name in (value for key, value in form.items() if re.fullmatch(r"(Instance|Resource)Id\.\d+", key)):
        own = {f"aws:ResourceTag/{key}": value for key, value in tags[name].items()}
        yield action, f"{_HERE}instance/{name}", {**own, **asked}
    if form["Action"] == "RunInstances":
        yield from _run(form, vpc, role, templates)


def _run(form: Mapping[str, str], vpc: str, role: str, templates: Mapping[str, str]) -> Iterator[Part]:
    instance = {f"aws:RequestTag/{key}": value for key, value in _tags(form, "TagSpecification.1.Tag.").items()}
    yield (
        "ec2:RunInstances",
        f"{_HERE}instance/*",
        {
            **instance,
            "ec2:InstanceType": form["InstanceType"],
            "ec2:InstanceProfile": form["IamInstanceProfile.Arn"],
            "ec2:MetadataHttpTokens": form.get("MetadataOptions.HttpTokens", "optional"),
        },
    )
    yield (
        "ec2:RunInstances",
        f"{_HERE}volume/*",
        {"ec2:Encrypted": form.get("BlockDeviceMapping.1.Ebs.Encrypted", "false")},
    )
    yield "ec2:RunInstances", f"{_HERE}network-interface/*", {}
    yield "ec2:RunInstances", f"{_HERE}key-pair/{form['KeyName']}", {}
    yield "ec2:RunInstances", f"{_HERE}security-group/{form['SecurityGroupId.1']}", {}
    yield "ec2:RunInstances", f"arn:aws:ec2:us-west-2::image/{form['ImageId']}", {}
    yield "ec2:RunInstances", f"{_HERE}subnet/{form['SubnetId']}", {"ec2:Vpc": f"{_HERE}vpc/{vpc}"}
    if template := form.get("LaunchTemplate.LaunchTemplateName"):
        yield "ec2:RunInstances", f"{_HERE}launch-template/{templates[template]}", {}
    for kind in ("instance", "volume"):
        yield "ec2:CreateTags", f"{_HERE}{kind}/*", {"ec2:CreateAction": "RunInstances"}
    yield "iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"}


def _tags(form: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The tags in a form, which numbers them: prefix + "1.Key", prefix + "1.Value"."""
    keys = (key for key in form if re.fullmatch(re.escape(prefix) + r"\d+\.Key", key))
    return {form[key]: form[key.removesuffix("Key") + "Value"] for key in keys}


def listed(value: str | list[str]) -> list[str]:
    """AWS takes one value for a list of one."""
    return [value] if isinstance(value, str) else value
