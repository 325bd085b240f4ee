"""Images: pulled when they have to be, once, with the login that the job is owed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.bench import eventually, scenario
from tests.engine.docker_yard import DockerYard
from tests.engine.registry import Registry

LOGIN = ("me", "secret")


@pytest.fixture
def registry(docker_yard: DockerYard) -> Iterator[Registry]:
    registry = Registry()
    yield registry
    registry.close()


@pytest.fixture
def private_registry(docker_yard: DockerYard) -> Iterator[Registry]:
    registry = Registry(login=LOGIN)
    yield registry
    registry.close()


@scenario
async def test_an_image_is_pulled_once_for_all_that_wait_for_it(docker_yard: DockerYard, registry: Registry) -> None:
    registry.gate.clear()
    image = f"{registry.name}/many:1"
    async with docker_yard.bench() as bench:
        for index in range(8):
            bench.launch(f"a{index}", "true", container={"image": image})
        await eventually(lambda: registry.asked["GET manifests"] > 0, "it is being pulled")
        pulling = f"pulling {image}: "
        await eventually(lambda: (bench.engine.progress("a7") or "").startswith(pulling), "how far it has come")
        registry.gate.set()
        for index in range(8):
            assert (await bench.exited(f"a{index}")).exit_code == 0
        assert registry.asked["GET manifests"] == 1
        assert bench.engine.progress("a7") is None
        await bench.run("again", "true", container={"image": image})
        assert registry.asked["GET manifests"] == 1


@scenario
async def test_while_one_image_is_pulled_jobs_of_others_start(docker_yard: DockerYard, registry: Registry) -> None:
    registry.gate.clear()
    async with docker_yard.bench() as bench:
        for index in range(8):
            bench.launch(f"a{index}", "true", container={"image": f"{registry.name}/slow:{index}"})
        assert (await bench.run("b", "true")).exit_code == 0
        registry.gate.set()
        for index in range(8):
            assert (await bench.exited(f"a{index}")).exit_code == 0


@scenario
async def test_the_policy_always_asks_for_a_newer_one(docker_yard: DockerYard, registry: Registry) -> None:
    async with docker_yard.bench(pull="always") as bench:
        for number in range(2):
            await bench.run(f"a{number}", "true", container={"image": f"{registry.name}/always:1"})
        assert registry.asked["HEAD manifests"] + registry.asked["GET manifests"] >= 2


@scenario
async def test_the_policy_never_takes_what_is_there(docker_yard: DockerYard, registry: Registry) -> None:
    async with docker_yard.bench(pull="never") as bench:
        exited = await bench.run("a", "true", container={"image": f"{registry.name}/never:1"})
        assert exited.reason == (
            f"CannotPullContainerError: Error response from daemon: {registry.name}/never:1 is not on this host,"
            " and docker_pull is never"
        )
        assert not registry.asked


@scenario
async def test_an_image_that_is_not_there_says_so(docker_yard: DockerYard, registry: Registry) -> None:
    async with docker_yard.bench() as bench:
        exited = await bench.run("a", "true", container={"image": f"{registry.name}/missing:1"})
        assert exited.reason is not None
        assert exited.reason.startswith("CannotPullContainerError: Error response from daemon: ")
        assert "manifest unknown" in exited.reason


@scenario
async def test_a_private_registry_takes_the_login_of_repository_credentials(
    docker_yard: DockerYard, private_registry: Registry
) -> None:
    container = {"image": f"{private_registry.name}/private:1"}
    owed = {**container, "repositoryCredentials": {"credentialsParameter": "login"}}
    async with docker_yard.bench() as bench:
        denied = await bench.run("a", "true", container=container)
        assert denied.reason is not None
        assert denied.reason.startswith("CannotPullContainerError: ")
        bad = await bench.run("b", "true", container=owed, secrets={"login": "me:secret"})
        assert bad.reason is not None
        assert bad.reason.startswith("CannotPullContainerError: the secret of repositoryCredentials must be")
        login = '{"username": "me", "password": "secret"}'
        assert (await bench.run("c", "true", container=owed, secrets={"login": login})).exit_code == 0


@scenario
async def test_the_images_own_stop_signal_stops_it(docker_yard: DockerYard) -> None:
    registry = Registry(StopSignal="SIGUSR1")
    try:
        async with docker_yard.bench() as bench:
            script = "trap 'echo usr1; exit 4' USR1; echo ready; while :; do sleep 0.05; done"
            bench.launch("a", script, container={"image": f"{registry.name}/usr1:1"})
            await bench.has_written("a", "ready")
            bench.engine.stop("a", 30)
            assert (await bench.exited("a")).exit_code == 4
    finally:
        registry.close()
