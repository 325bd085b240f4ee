"""Credentials of private registries: pure."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from batchyard.engines.base import Launch
from batchyard.engines.task import Container
from batchyard.exceptions import CannotLaunchError


class _Login(Struct, frozen=True):
    """What the secret of repositoryCredentials holds (ECS guide, private registry authentication)."""

    username: str
    password: str


def auth_of(container: Container, launch: Launch) -> dict[str, str] | None:
    """How to log in where the container's image is; CannotLaunchError if its secret isn't of the documented form."""
    credentials = container.repository_credentials
    if credentials is None:
        return None
    return login_of(launch.secrets.get(credentials.credentials_parameter, ""))


def login_of(secret: str) -> dict[str, str]:
    """The login that a secret holds; CannotLaunchError if it isn't of the documented form."""
    try:
        login = msgspec.json.decode(secret, type=_Login)
    except msgspec.DecodeError as error:
        raise CannotLaunchError(
            'CannotPullContainerError: the secret of repositoryCredentials must be {"username": …, "password": …}'
        ) from error
    return {"username": login.username, "password": login.password}
