"""Logins that `docker login` left behind."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from batchyard.engines.docker.logins import HUB, login_for, registry_of


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("busybox", HUB),
        ("library/busybox:1", HUB),
        ("docker.io/library/busybox", HUB),
        ("localhost/x", "localhost"),
        ("127.0.0.1:5000/x:1", "127.0.0.1:5000"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/x@sha256:00", "123456789012.dkr.ecr.us-east-1.amazonaws.com"),
    ],
)
def test_where_an_image_is_from(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def configured(folder: Path, config: object) -> dict[str, str]:
    (folder / "config.json").write_text(json.dumps(config))
    return {"DOCKER_CONFIG": str(folder)}


def test_a_kept_login(tmp_path: Path) -> None:
    auth = base64.b64encode(b"me:se:cret").decode()
    environ = configured(tmp_path, {"auths": {"r.example": {"auth": auth}, "t.example": {"identitytoken": "T"}}})
    assert login_for("r.example/x", environ) == {"username": "me", "password": "se:cret"}
    assert login_for("t.example/x", environ) == {"identitytoken": "T"}
    assert login_for("busybox", environ) is None


@pytest.mark.parametrize("config", [{}, {"auths": None}, {"auths": {"r.example": {"auth": "%"}}}])
def test_without_one_that_can_be_read_there_is_none(tmp_path: Path, config: object) -> None:
    assert login_for("r.example/x", configured(tmp_path, config)) is None
    assert login_for("r.example/x", {"DOCKER_CONFIG": str(tmp_path / "none")}) is None


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-safe"
    helper.write_text('#!/bin/sh\nread name; [ "$name" = r.example ] && echo \'{"Username": "me", "Secret": "s"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    environ = configured(tmp_path, {"credHelpers": {"r.example": "safe", "q.example": "lost"}})
    assert login_for("r.example/x", environ) == {"username": "me", "password": "s"}
    assert login_for("q.example/x", environ) is None
