"""The bound on the images that Batchyard pulled: who goes, who stays, and that nobody misses what went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from batchyard.engines.docker.shelf import FILE_NAME, Candidate, removal_order
from tests.engine.bench import eventually, scenario
from tests.engine.docker_yard import DockerYard
from tests.engine.registry import Registry


@pytest.fixture
def registries(docker_yard: DockerYard) -> Iterator[list[Registry]]:
    """Three, so that no two images share anything."""
    registries = [Registry() for _ in range(3)]
    yield registries
    for registry in registries:
        registry.close()


def images(registries: list[Registry]) -> list[str]:
    return [f"{registry.name}/shelf:1" for registry in registries]


def there(yard: DockerYard) -> set[str]:
    return {tag for image in yard.daemon.call("GET", "/images/json") for tag in image["RepoTags"] or ()}


def size(yard: DockerYard, image: str) -> int:
    found: int = yard.daemon.call("GET", f"/images/{image}/json")["Size"]
    return found


def noted(yard: DockerYard) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode((yard.data_dir / "engine" / FILE_NAME).read_bytes())
    return found


def test_the_least_recently_used_are_asked_first_and_nobody_below_the_bound() -> None:
    three = [Candidate("b", 10, 2), Candidate("a", 10, 3), Candidate("c", 10, 1)]
    assert [each.name for each in removal_order(three, 29)] == ["c", "b", "a"]
    assert removal_order(three, 30) == []


@scenario
async def test_over_the_bound_the_least_recently_used_goes(docker_yard: DockerYard, registries: list[Registry]) -> None:
    first, second, third = images(registries)
    # Room for two, and a little more.
    room = 2 * size(docker_yard, "batchyard-test/busybox:1") + 500_000
    async with docker_yard.bench(images_max_bytes=room) as bench:
        for name, image in (("a", first), ("b", second), ("c", first), ("d", third)):
            await bench.run(name, "true", container={"image": image})
            bench.engine.forget([name])
        await eventually(lambda: second not in there(docker_yard), "the least recently used goes")
        assert {first, third} <= there(docker_yard)
        assert set(noted(docker_yard)) == {first, third}
        # One that went is pulled again when it is needed.
        assert (await bench.run("e", "true", container={"image": second})).exit_code == 0


@scenario
async def test_what_was_used_when_is_known_after_a_restart(docker_yard: DockerYard, registries: list[Registry]) -> None:
    first, second, third = images(registries)
    async with docker_yard.bench() as bench:
        for name, image in (("a", first), ("b", second)):
            await bench.run(name, "true", container={"image": image})
            bench.engine.forget([name])
    assert noted(docker_yard)[first]["used_at_ms"] < noted(docker_yard)[second]["used_at_ms"]
    room = 2 * size(docker_yard, first) + 500_000
    async with docker_yard.bench(images_max_bytes=room) as bench:
        await bench.run("c", "true", container={"image": third})
        bench.engine.forget(["c"])
        await eventually(lambda: first not in there(docker_yard), "the least recently used goes")
        assert {second, third} <= there(docker_yard)


@scenario
async def test_images_of_others_and_images_in_use_stay(docker_yard: DockerYard, registries: list[Registry]) -> None:
    users, running, wanted = images(registries)
    name, _, tag = users.rpartition(":")
    docker_yard.daemon.call("POST", f"/images/create?fromImage={name}&tag={tag}", parse=False)
    waits = "trap 'exit 0' TERM; while :; do sleep 0.05; done"

    async def is_wanted(image: str) -> bool:
        return image == wanted

    bench = docker_yard.bench(images_max_bytes=1, is_wanted=is_wanted)
    async with bench:
        bench.launch("runs", waits, container={"image": running})
        await bench.started("runs")
        for attempt_id, image in (("a", users), ("b", wanted)):
            await bench.run(attempt_id, "true", container={"image": image})
            bench.engine.forget([attempt_id])
        await eventually(lambda: docker_yard.names() == ["runs"], "the others are cleared away")
        assert {users, running, wanted} <= there(docker_yard)
        bench.engine.stop("runs", 1)
        await bench.exited("runs")
        bench.engine.forget(["runs"])
        await eventually(lambda: running not in there(docker_yard), "it is not in use any more")
        assert {users, wanted} <= there(docker_yard)


@scenario
async def test_an_image_that_goes_before_its_container_is_made_is_pulled_again(
    docker_yard: DockerYard, registries: list[Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = images(registries)[0]
    async with docker_yard.bench() as bench:
        ensure, removals = bench.engine._images.ensure, []

        async def ensure_and_lose(*arguments: Any) -> None:
            await ensure(*arguments)
            if not removals:
                removals.append(docker_yard.daemon.call("DELETE", f"/images/{image}?force=1"))

        monkeypatch.setattr(bench.engine._images, "ensure", ensure_and_lose)
        assert (await bench.run("a", "true", container={"image": image})).exit_code == 0
        assert removals


@scenario
async def test_notes_that_cannot_be_read_make_every_image_somebody_elses(
    docker_yard: DockerYard, registries: list[Registry]
) -> None:
    image = images(registries)[0]
    async with docker_yard.bench() as bench:
        await bench.run("a", "true", container={"image": image})
        bench.engine.forget(["a"])
        await eventually(lambda: not docker_yard.names(), "it is cleared away")
    (docker_yard.data_dir / "engine" / FILE_NAME).write_bytes(b"{")
    async with docker_yard.bench(images_max_bytes=1) as bench:
        await bench.run("b", "true", container={"image": image})
        bench.engine.forget(["b"])
        await eventually(lambda: not docker_yard.names(), "it is cleared away")
        assert image in there(docker_yard)


@scenario
async def test_what_a_newer_image_took_the_name_from_goes_too(
    docker_yard: DockerYard, registries: list[Registry]
) -> None:
    image = images(registries)[0]

    def ids() -> set[str]:
        return {each["Id"] for each in docker_yard.daemon.call("GET", "/images/json")}

    before = ids()
    room = size(docker_yard, "batchyard-test/busybox:1") + 500_000
    async with docker_yard.bench(images_max_bytes=room, pull="always") as bench:
        await bench.run("a", "true", container={"image": image})
        (first,) = ids() - before
        await eventually(lambda: noted(docker_yard)[image]["image_id"] == first, "its id is noted")
        registries[0].push()
        await bench.run("b", "true", container={"image": image})
        assert len(ids() - before) == 2
        # Were both forgotten at once, the newer one's container might go first, and the newer image with it.
        bench.engine.forget(["a"])
        await eventually(lambda: first not in ids(), "nothing needs it")
        assert image in there(docker_yard)
        bench.engine.forget(["b"])
