"""Subnets of compute environments as networks of the daemon."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from batchyard.engines.docker.engine import SERVER_ID_FILE
from batchyard.engines.docker.networks import body_of, name_of
from batchyard.exceptions import EngineError
from tests.engine.bench import Bench, eventually, scenario
from tests.engine.docker_yard import DockerYard
from tests.engine.dockerd import Dockerd


@pytest.fixture
def daemon(dockerd: Dockerd) -> Iterator[Dockerd]:
    before = networks(dockerd)
    yield dockerd
    for name in networks(dockerd).keys() - before.keys():
        dockerd.call("DELETE", f"/networks/{name}", parse=False)


def networks(dockerd: Dockerd) -> dict[str, bool]:
    """By name, and whether each is internal."""
    return {each["Name"]: each["Internal"] for each in dockerd.call("GET", "/networks")}


async def place(bench: Bench, daemon: Dockerd, attempt_id: str, subnets: tuple[str, ...]) -> str | None:
    """The network in which a container finds itself, by the address that it has."""
    bench.launch(attempt_id, "ip -4 -o addr | grep -v 127.0.0.1 | sed 's/.*inet \\([0-9.]*\\).*/\\1/'", subnets=subnets)
    assert (await bench.exited(attempt_id)).exit_code == 0
    for address in bench.lines(attempt_id):
        for network in daemon.call("GET", "/networks"):
            ranges = [ipaddress.ip_network(each["Subnet"]) for each in network["IPAM"]["Config"] or ()]
            if any(ipaddress.ip_address(address) in each for each in ranges):
                return str(network["Name"])
    return None


@scenario
async def test_containers_are_on_the_network_of_their_first_subnet_that_has_one(
    docker_yard: DockerYard, daemon: Dockerd
) -> None:
    settings: dict[str, Any] = {"networks": {"subnet-a": "yard-a"}, "private_networks": {"subnet-b": "yard-b"}}
    async with docker_yard.bench(**settings) as bench:
        found = networks(daemon)
        assert (found["yard-a"], found["yard-b"]) == (False, True)
        assert await place(bench, daemon, "public", ("subnet-x", "subnet-a", "subnet-b")) == "yard-a"
        assert await place(bench, daemon, "private", ("subnet-b", "subnet-a")) == "yard-b"
        assert await place(bench, daemon, "other", ("subnet-x",)) is None


@scenario
async def test_a_network_that_is_there_is_used_and_stays(docker_yard: DockerYard, daemon: Dockerd) -> None:
    settings: dict[str, Any] = {"private_networks": {"subnet-b": "yard-b"}}
    for attempt_id in ("first", "second"):
        async with docker_yard.bench(**settings) as bench:
            assert await place(bench, daemon, attempt_id, ("subnet-b",)) == "yard-b"
    assert networks(daemon)["yard-b"] is True


@scenario
async def test_a_network_with_a_way_out_is_not_taken_for_a_private_one(
    docker_yard: DockerYard, daemon: Dockerd
) -> None:
    async with docker_yard.bench(networks={"subnet-a": "yard-a"}):
        pass
    with pytest.raises(EngineError, match="the Docker network yard-a is there and is not internal"):
        async with docker_yard.bench(private_networks={"subnet-a": "yard-a"}):
            pass


@scenario
async def test_a_network_that_the_daemon_refuses_ends_the_start(docker_yard: DockerYard, daemon: Dockerd) -> None:
    with pytest.raises(EngineError, match=r"the Docker networks of subnets can't be had: .*predefined"):
        async with docker_yard.bench(networks={"subnet-a": "default"}):
            pass


@scenario
async def test_a_network_that_has_gone_meanwhile_is_why_a_container_cannot_start(
    docker_yard: DockerYard, daemon: Dockerd
) -> None:
    async with docker_yard.bench(networks={"subnet-a": "yard-a"}) as bench:
        daemon.call("DELETE", "/networks/yard-a", parse=False)
        bench.launch("a", "true", subnets=("subnet-a",))
        ended = await bench.exited("a")
        assert not ended.started
        assert ended.reason is not None and "CannotStartContainerError" in ended.reason and "yard-a" in ended.reason


@scenario
async def test_a_network_of_nodes_that_a_server_left_as_it_died_goes(docker_yard: DockerYard, daemon: Dockerd) -> None:
    async with docker_yard.bench():
        name = name_of((docker_yard.data_dir / "engine" / SERVER_ID_FILE).read_text())
    daemon.call("POST", "/networks/create", msgspec.json.encode(body_of(name, "10.217.0.2", {})), json=True)
    assert name in networks(daemon)
    async with docker_yard.bench():
        await eventually(lambda: name not in networks(daemon), "nobody is on it")
