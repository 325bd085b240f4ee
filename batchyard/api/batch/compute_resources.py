"""The computeResources of a MANAGED compute environment: what is allowed, what an update may change (facts §4)."""

from __future__ import annotations

from typing import Any

from batchyard.api.batch.checks import refuse_not_built
from batchyard.wire import errors

ComputeResources = dict[str, Any]

FARGATE_TYPES = ("FARGATE", "FARGATE_SPOT")
NOT_BUILT = ("managedInstancesProvider", "capacityTags")
NOT_FOR_FARGATE = (
    "minvCpus",
    "desiredvCpus",
    "allocationStrategy",
    "instanceTypes",
    "imageId",
    "ec2KeyPair",
    "instanceRole",
    "tags",
    "placementGroup",
    "bidPercentage",
    "spotIamFleetRole",
    "launchTemplate",
    "ec2Configuration",
    "scalingPolicy",
)
MAX_FARGATE_SUBNETS = 16
MAX_FARGATE_SECURITY_GROUPS = 5
MIN_SCALE_DOWN_DELAY_MINUTES = 20
MAX_SCALE_DOWN_DELAY_MINUTES = 10080

SCALING_MEMBERS = ("minvCpus", "maxvCpus", "desiredvCpus", "scalingPolicy")
"""What an update changes in place; all other members mean new instances."""
UNSET_BY_EMPTY = ("ec2KeyPair", "imageId", "placementGroup", "ec2Configuration", "scalingPolicy")
"""What an update takes away by giving "" or []."""


def new(given: ComputeResources) -> ComputeResources:
    """The resources of a new environment, checked, with the service's defaults."""
    _refuse_managed_instances(given)
    resources = dict(given)
    resources.setdefault("subnets", [])
    resources.setdefault("securityGroupIds", [])
    if given["type"] in FARGATE_TYPES:
        _check_fargate(given)
        return {member: value for member, value in resources.items() if member not in NOT_FOR_FARGATE}
    if "minvCpus" not in given:
        raise errors.executing_request("Resource minvCpus is required.")
    if not given.get("instanceRole"):
        raise errors.executing_request("Instance role is required.")
    resources.setdefault("desiredvCpus", given["minvCpus"])
    resources.setdefault("instanceTypes", [])
    resources.setdefault("tags", {})
    if not resources.get("ec2Configuration"):
        resources["ec2Configuration"] = [{"imageType": "ECS_AL2023"}]
    _check(resources)
    return resources


def updated(current: ComputeResources, given: ComputeResources) -> tuple[ComputeResources, list[str]]:
    """The resources after an update, and the members whose change replaces the instances.

    A member that has its present value already is no change.
    """
    _refuse_managed_instances(given)
    if (current["type"] in FARGATE_TYPES) != (given.get("type", current["type"]) in FARGATE_TYPES):
        raise errors.executing_request("type cannot be changed between EC2 and Fargate.")
    if current["type"] in FARGATE_TYPES:
        return _updated_fargate(current, given), []
    resources = dict(current)
    for member, value in given.items():
        if _unsets(member, value):
            resources.pop(member, None)
        elif member != "updateToLatestImageVersion":
            resources[member] = value
    if "desiredvCpus" not in given:
        # AWS moves it with demand, and so into new bounds.
        resources["desiredvCpus"] = max(resources["minvCpus"], min(resources["desiredvCpus"], resources["maxvCpus"]))
    elif given["desiredvCpus"] < current["desiredvCpus"]:
        raise errors.executing_request("desiredvCpus must be greater than or equal to its current value")
    if not resources.get("instanceRole"):
        raise errors.executing_request("Instance role is required.")
    _check(resources)
    replaced = [
        member for member in given if member not in SCALING_MEMBERS and resources.get(member) != current.get(member)
    ]
    if given.get("updateToLatestImageVersion"):
        replaced.append("updateToLatestImageVersion")
    return resources, replaced


def described(resources: ComputeResources) -> ComputeResources:
    """As DescribeComputeEnvironments gives them: images of this server are always the latest."""
    if "ec2Configuration" not in resources:
        return resources
    images = [{**image, "batchImageStatus": "LATEST"} for image in resources["ec2Configuration"]]
    return {**resources, "ec2Configuration": images}


def _updated_fargate(current: ComputeResources, given: ComputeResources) -> ComputeResources:
    """An empty list of subnets or security groups changes nothing on Fargate (service model)."""
    changes = {member: value for member, value in given.items() if value != []}
    _check_fargate({**changes, "maxvCpus": given.get("maxvCpus", current["maxvCpus"])})
    changes.pop("updateToLatestImageVersion", None)
    return {**current, **{member: value for member, value in changes.items() if member not in NOT_FOR_FARGATE}}


def _unsets(member: str, value: Any) -> bool:
    if member == "launchTemplate":
        return not (value.get("launchTemplateId") or value.get("launchTemplateName"))
    if member == "scalingPolicy":
        return not value.get("minScaleDownDelayMinutes")
    return member in UNSET_BY_EMPTY and not value


def _refuse_managed_instances(resources: ComputeResources) -> None:
    if resources.get("type") == "ECS_MANAGED_INSTANCES":
        raise errors.not_built("computeResources type ECS_MANAGED_INSTANCES")
    refuse_not_built(resources, NOT_BUILT, "computeResources.")


def _check_fargate(given: ComputeResources) -> None:
    refused = [member for member in NOT_FOR_FARGATE if given.get(member) not in (None, "", [], {})]
    if refused:
        raise errors.executing_request(",".join(f"{member} is not applicable for Fargate." for member in refused))
    if len(given.get("subnets", [])) > MAX_FARGATE_SUBNETS:
        raise errors.executing_request(f"subnets can have at most {MAX_FARGATE_SUBNETS} entries for Fargate.")
    if len(given.get("securityGroupIds", [])) > MAX_FARGATE_SECURITY_GROUPS:
        raise errors.executing_request(
            f"securityGroupIds can have at most {MAX_FARGATE_SECURITY_GROUPS} entries for Fargate."
        )
    if given["maxvCpus"] < 0:
        raise errors.executing_request("maxvCpus must not be negative")


def _check(resources: ComputeResources) -> None:
    """The bounds of EC2 and SPOT resources."""
    lowest, desired, highest = resources["minvCpus"], resources["desiredvCpus"], resources["maxvCpus"]
    if lowest < 0 or highest < 0:
        raise errors.executing_request("minvCpus and maxvCpus must not be negative")
    if lowest > highest:
        raise errors.executing_request("maxvCpus must be greater than or equal to minvCpus")
    if not lowest <= desired <= highest:
        raise errors.executing_request("desiredvCpus must be between minvCpus and maxvCpus")
    if not 0 <= resources.get("bidPercentage", 0) <= 100:
        raise errors.executing_request("bidPercentage must be between 0 and 100")
    template = resources.get("launchTemplate", {})
    if template.get("launchTemplateId") and template.get("launchTemplateName"):
        raise errors.executing_request("launchTemplateId and launchTemplateName cannot both be given")
    if len(template.get("overrides", [])) > 10:
        raise errors.executing_request("launchTemplate can have at most 10 overrides")
    delay = resources.get("scalingPolicy", {}).get("minScaleDownDelayMinutes", 0)
    if delay and not MIN_SCALE_DOWN_DELAY_MINUTES <= delay <= MAX_SCALE_DOWN_DELAY_MINUTES:
        raise errors.executing_request(
            f"minScaleDownDelayMinutes must be between {MIN_SCALE_DOWN_DELAY_MINUTES} and"
            f" {MAX_SCALE_DOWN_DELAY_MINUTES}, or 0"
        )
