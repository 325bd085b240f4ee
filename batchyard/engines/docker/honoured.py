"""Which members of containers the Docker engine does not honour: pure."""

from __future__ import annotations

from collections.abc import Mapping

_UNUSED_MEMBERS = (
    "executionRoleArn",
    "instanceType",
    "networkConfiguration",
    "fargatePlatformConfiguration",
)
_ROLES = ("jobRoleArn", "taskRoleArn")


def unsupported(container: Mapping[str, object], *, storage_quota: bool, roles: bool) -> list[str]:
    """The members, among those given, that ask for something which no container gets here. `roles`: whether containers
    reach the server, which gives them the credentials of their roles."""
    unused = _UNUSED_MEMBERS if storage_quota else (*_UNUSED_MEMBERS, "ephemeralStorage")
    unused = unused if roles else (*_ROLES, *unused)
    return [name for name in unused if container.get(name)]
