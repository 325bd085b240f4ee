"""How images are asked of registries: by name and tag, and with which credentials. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping

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


def auth_header(login: Mapping[str, str]) -> str:
    """A login as the daemon wants it, in X-Registry-Auth."""
    return base64.urlsafe_b64encode(msgspec.json.encode(login)).decode()


def split_tag(image: str) -> tuple[str, str]:
    """A name and its tag or digest, as the daemon wants them apart: without a tag it would pull them all."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    before, colon, tag = image.rpartition(":")
    return (before, tag) if colon and "/" not in tag else (image, "latest")
