"""What a submission comes to, from SubmitJob to the engine and back to DescribeJobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchyard.core.inputs import AttemptExited, AttemptStarted
from batchyard.core.model import ContainerEnd
from batchyard.exceptions import ApiError
from batchyard.logframes import frame, log_id, log_path
from tests.unit.runtime.yardhouse import House, ScriptedEngine, house, run

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
            assert text == "Running a task of several containers with the scripted engine is not built in Batchyard yet"

    run(scenario())


class ContainerEngine(ScriptedEngine):
    runs_containers = True


def two_containers() -> list[dict[str, Any]]:
    """The second has a log group of its own."""
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "other", "awslogs-stream-prefix": "own"}}
    first = container(name="first", environment=[{"name": "A", "value": "1"}], stopTimeout=40)
    return [first, container(name="second", essential=False, logConfiguration=logs)]


def test_a_task_of_several_containers_is_one_attempt_that_needs_what_they_need_together(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ContainerEngine()) as server:
            await define_task(server, *two_containers(), parameters={"word": "hello"})
            changed = {"name": "second", "command": ["env"], "environment": [{"name": "B", "value": "2"}]}
            override = {"taskProperties": [{"containers": [changed]}]}
            job_id = await server.submit(definition="task", ecsPropertiesOverride=override)
            await server.until(lambda: job_id in server.engine.launches)
            launch = server.engine.launches[job_id]
            assert (launch.vcpu_milli, launch.memory_mib, launch.stop_grace_seconds) == (2000, 128, 40)
            assert launch.command == ()
            assert launch.environment.keys().isdisjoint({"A", "B"})
            assert launch.environment["AWS_BATCH_JOB_ID"] == job_id
            assert launch.task is not None
            assert [each.command for each in launch.task.containers] == [("echo", "hello"), ("env",)]

    run(scenario())


def test_each_container_of_a_task_has_its_own_end_and_log_stream(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ContainerEngine()) as server:
            await define_task(server, *two_containers(), parameters={"word": "hello"})
            job_id = await server.submit(definition="task")
            await server.until(lambda: job_id in server.engine.launches)
            server.engine.held[job_id] = True
            ends = (ContainerEnd(3, "why"), ContainerEnd(0))
            server.engine.report(AttemptStarted(job_id, 1000), AttemptExited(job_id, 2000, 3, "why", containers=ends))
            job = await server.until_status(job_id, "FAILED")
            task, attempt = job["ecsProperties"]["taskProperties"][0], job["attempts"][0]["taskProperties"][0]
            assert job["container"] == job["attempts"][0]["container"] == {}
            assert attempt["taskArn"] == task["taskArn"]
            shown = [{"name": "first", "exitCode": 3, "reason": "why"}, {"name": "second", "exitCode": 0}]
            streams = [f"task/first/{job_id}", f"own/second/{job_id}"]
            assert attempt["containers"] == [
                {**each, "logStreamName": stream, "networkInterfaces": []}
                for each, stream in zip(shown, streams, strict=True)
            ]
            described = [(each["exitCode"], each.get("reason"), each["logStreamName"]) for each in task["containers"]]
            assert described == [(3, "why", streams[0]), (0, None, streams[1])]
            await _check_streams(server, job_id, dict(zip(("/aws/batch/job", "other"), streams, strict=True)))

    run(scenario())


async def _check_streams(server: House, job_id: str, streams: dict[str, str]) -> None:
    """Each container's lines are in its own stream, which is closed: a last line without a newline counts."""
    for place, (group, stream) in enumerate(streams.items()):
        path = log_path(Path(server.context.settings.data_dir) / "logs", log_id(job_id, place))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(frame(1000, f"from {place}".encode()))
        where = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
        events = (await server.call("GetLogEvents", "logs", **where))["events"]
        assert [event["message"] for event in events] == [f"from {place}"]


def test_what_could_not_be_started_says_so_at_every_container(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ContainerEngine()) as server:
            await define_task(server, *two_containers(), parameters={"word": "hello"})
            job_id = await server.submit(definition="task")
            await server.until(lambda: job_id in server.engine.launches)
            server.engine.report(AttemptExited(job_id, 2000, None, "CannotPullContainerError: no", started=False))
            job = await server.until_status(job_id, "FAILED")
            assert job["statusReason"] == "Task failed to start"
            containers = job["attempts"][0]["taskProperties"][0]["containers"]
            assert [each["reason"] for each in containers] == ["CannotPullContainerError: no"] * 2
            assert "logStreamName" not in containers[0]

    run(scenario())


def test_children_of_an_array_have_streams_for_all_their_containers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ContainerEngine(vcpus=8)) as server:
            await define_task(server, *two_containers(), parameters={"word": "hello"})
            job_id = await server.submit(definition="task", arrayProperties={"size": 2})
            await server.until(lambda: len(server.engine.launches) == 2)
            for attempt_id in server.engine.launches:
                ends = (ContainerEnd(0), ContainerEnd(1))
                server.engine.report(
                    AttemptStarted(attempt_id, 1000), AttemptExited(attempt_id, 2000, 0, containers=ends)
                )
            await server.until_status(job_id, "SUCCEEDED")
            described = (await server.call("DescribeLogStreams", "logs", logGroupName="other"))["logStreams"]
            assert len(described) == 2
            child = await server.job(f"{job_id}:1")
            (task,) = child["ecsProperties"]["taskProperties"]
            assert [each["exitCode"] for each in task["containers"]] == [0, 1]
            assert task["containers"][1]["logStreamName"] in [each["logStreamName"] for each in described]

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
