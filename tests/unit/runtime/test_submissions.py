"""What a submission comes to, from SubmitJob to the engine and back to DescribeJobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchyard.exceptions import ApiError
from tests.unit.runtime.yardhouse import House, house, run

SIZES = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]


def container(**members: Any) -> dict[str, Any]:
    return {"image": "busybox", "resourceRequirements": SIZES, "command": ["echo", "Ref::word"], **members}


async def define_task(server: House, *containers: dict[str, Any], **members: Any) -> None:
    await server.call(
        "RegisterJobDefinition",
        jobDefinitionName="task",
        type="container",
        ecsProperties={"taskProperties": [{"containers": list(containers)}]},
        **members,
    )


async def refused(server: House, **params: Any) -> str:
    with pytest.raises(ApiError) as caught:
        await server.submit(**params)
    assert caught.value.http_status == 400
    return caught.value.message


def test_a_task_of_one_container_runs_like_a_container_job(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            only = container(name="main", environment=[{"name": "A", "value": "1"}], stopTimeout=7)
            await define_task(server, only, parameters={"word": "hello"})
            override = {"name": "main", "environment": [{"name": "B", "value": "2"}]}
            job_id = await server.submit(
                definition="task", ecsPropertiesOverride={"taskProperties": [{"containers": [override]}]}
            )
            await server.until(lambda: job_id in server.engine.launches)
            launch = server.engine.launches[job_id]
            assert launch.command == ("echo", "hello")
            assert launch.environment.items() >= {"A": "1", "B": "2", "AWS_BATCH_JOB_ID": job_id}.items()
            assert (launch.vcpu_milli, launch.memory_mib, launch.stop_grace_seconds) == (1000, 64, 7)
            server.engine.start_and_exit(job_id, 3)
            _check_described(await server.until_status(job_id, "FAILED"))

    run(scenario())


def _check_described(job: dict[str, Any]) -> None:
    """The container is empty, and everything about it stands in the task."""
    assert job["container"] == {}
    (task,) = job["ecsProperties"]["taskProperties"]
    (shown,) = task["containers"]
    assert (shown["name"], shown["command"], shown["exitCode"]) == ("main", ["echo", "hello"], 3)
    assert shown["logStreamName"] == f"task/main/{job['jobId']}"
    assert ":task/" in task["taskArn"] and ":container-instance/" in task["containerInstanceArn"]
    (attempt,) = job["attempts"]
    assert attempt["container"] == {}
    (attempted,) = attempt["taskProperties"]
    assert attempted["taskArn"] == task["taskArn"]
    assert attempted["containers"] == [
        {"name": "main", "exitCode": 3, "logStreamName": shown["logStreamName"], "networkInterfaces": []}
    ]


def test_a_task_of_several_containers_is_refused_when_it_is_submitted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await define_task(server, container(name="a"), container(name="b"), parameters={"word": "x"})
            text = await refused(server, definition="task")
            assert text == "Running a task of several containers (ecsProperties) is not built in Batchyard yet"

    run(scenario())


def test_no_queue_here_runs_pods(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            pod = {"podProperties": {"containers": [{"image": "busybox"}]}}
            await server.call("RegisterJobDefinition", jobDefinitionName="pod", type="container", eksProperties=pod)
            text = await refused(server, definition="pod", eksPropertiesOverride={"podProperties": {}})
            assert text == ("Job Queue is attached to Compute Environment that can not run Jobs with capability EKS.")

    run(scenario())


def test_overrides_must_be_of_the_definitions_kind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            await define_task(server, container(), parameters={"word": "x"})
            text = await refused(server, definition="task", containerOverrides={"command": ["true"]})
            assert "containerOverrides is not applicable for a job definition without containerProperties" in text
            override = {"taskProperties": [{"containers": [{"command": ["true"]}]}]}
            text = await refused(server, ecsPropertiesOverride=override)
            assert "ecsPropertiesOverride is not applicable for a job definition without ecsProperties" in text
            await server.submit(definition="task", containerOverrides={})

    run(scenario())


def test_a_job_does_not_run_without_the_secrets_it_is_owed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define(secrets=[{"name": "DB_PASSWORD", "valueFrom": "arn"}])
            job_id = await server.submit(retryStrategy={"attempts": 2})
            job = await server.until_status(job_id, "FAILED")
            assert job["statusReason"] == "Task failed to start"
            assert job["container"]["reason"] == (
                "ResourceInitializationError: unable to pull secrets or registry auth: arn is not in secrets_file,"
                " which is not set, and secrets_endpoint_url is not set"
            )
            assert len(job["attempts"]) == 2
            assert server.engine.launches == {}

    run(scenario())


def test_empty_members_leave_what_the_definition_says(tmp_path: Path) -> None:
    """Luigi's next version submits every job with all of these."""

    async def scenario() -> None:
        async with house(tmp_path) as server:
            await define_task(server, container(command=["true"]), retryStrategy={"attempts": 2})
            empty: dict[str, Any] = {"arrayProperties": {}, "dependsOn": [], "containerOverrides": {}}
            empty |= {"retryStrategy": {}, "timeout": {}}
            job = await server.job(await server.submit(definition="task", **empty))
            assert job["retryStrategy"]["attempts"] == 2
            assert "timeout" not in job

    run(scenario())


def some_tags(prefix: str, count: int) -> dict[str, str]:
    return {f"{prefix}{number}": prefix for number in range(count)}


async def tagged(server: House, own: dict[str, str], **params: Any) -> dict[str, Any]:
    job_id = await server.submit(definition="tagged", tags=own, **params)
    if params.get("propagateTags") is False:
        await server.until(lambda: job_id in server.engine.launches)
    return await server.job(job_id)


def test_a_job_with_too_many_tags_to_propagate_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.call(
                "RegisterJobDefinition",
                jobDefinitionName="tagged",
                type="container",
                containerProperties=container(command=["true"]),
                tags=some_tags("d", 30),
                propagateTags=True,
            )
            kept = await tagged(server, some_tags("j", 20))
            assert (len(kept["tags"]), kept["propagateTags"]) == (50, True)
            own = some_tags("j", 21)
            unpropagated = await tagged(server, own, propagateTags=False)
            assert (unpropagated["tags"], unpropagated["status"]) == (own, "STARTING")
            job_id = await server.submit(definition="tagged", tags=own, arrayProperties={"size": 2})
            failed = await server.until_status(job_id, "FAILED")
            assert failed["statusReason"] == (
                "The combined number of tags of the job and its job definition must be at most 50"
            )
            assert failed["tags"] == own
            child = await server.job(f"{job_id}:1")
            assert (child["status"], child["tags"], child["attempts"]) == ("FAILED", {}, [])

    run(scenario())


def test_a_job_whose_overrides_are_too_long_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, max_overrides_length=8192) as server:
            await server.define()
            fits = await server.submit(containerOverrides={"command": ["x" * 8000]})
            await server.until(lambda: fits in server.engine.launches)
            job_id = await server.submit(containerOverrides={"command": ["x" * 8192]}, retryStrategy={"attempts": 3})
            job = await server.until_status(job_id, "FAILED")
            assert job["statusReason"] == "Container Overrides length must be at most 8192"
            assert job["attempts"] == []
            assert job["stoppedAt"] >= job["createdAt"]

    run(scenario())


def test_overrides_may_be_long_unless_a_limit_is_set(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            job_id = await server.submit(containerOverrides={"command": ["x" * 60_000]})
            await server.until(lambda: job_id in server.engine.launches)

    run(scenario())
