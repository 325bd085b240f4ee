"""ARNs as the service writes them, and reading what clients send: names and ARNs are taken alike (facts §2)."""

from __future__ import annotations

from batchyard.settings import Settings


def batch_arn(settings: Settings, resource: str) -> str:
    """`job-queue/NAME` -> `arn:aws:batch:us-east-1:123456789012:job-queue/NAME`."""
    return f"arn:{settings.partition}:batch:{settings.region}:{settings.account_id}:{resource}"


def name_from(kind: str, name_or_arn: str) -> str:
    """The resource name in a name or an ARN of that kind (`job-queue`, …); other text comes back as it is."""
    if not name_or_arn.startswith("arn:"):
        return name_or_arn
    resource = name_or_arn.split(":", 5)[-1]
    prefix, _, name = resource.partition("/")
    return name if prefix == kind and name else name_or_arn


def job_id_from(id_or_arn: str) -> str:
    """The job id, with its `:index` or `#node` suffix, in an id or a job ARN."""
    return name_from("job", id_or_arn)
