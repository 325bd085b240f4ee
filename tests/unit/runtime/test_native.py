"""Batchyard's own endpoints, over a real store and runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from batchyard.api.native import application as native
from batchyard.core.inputs import AttemptExited, AttemptStarted
from batchyard.core.model import Usage
from batchyard.exceptions import ApiError
from batchyard.store import jobs
from tests.unit.runtime.yardhouse import House, ScriptedEngine, house, run


async def get(server: House, path: str, method: str = "GET") -> tuple[int, dict[str, Any]]:
    """Status and JSON body of a request below /batchyard."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "scheme": "http",
        "server": ("localhost", 1),
    }
    await native.application(server.context)(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body)


async def view(server: House, unit_id: str, name: str) -> dict[str, Any]:
    status, body = await get(server, f"/v1/jobs/{quote(unit_id, safe='')}/{name}")
    assert status == 200
    return body


def test_usage_tells_what_each_attempt_took(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            job_id = await server.submit()
            await server.until(lambda: job_id in server.engine.launches)
            start = 1_700_000_000_000
            used = Usage(peak_memory_bytes=5000, cpu_seconds=0.25)
            server.engine.report(AttemptStarted(job_id, start), AttemptExited(job_id, start + 1500, 0, usage=used))
            await server.until_status(job_id, "SUCCEEDED")
            figures = {"wallSeconds": 1.5, "cpuSeconds": 0.25, "peakMemoryBytes": 5000}
            assert await view(server, job_id, "usage") == {
                "jobId": job_id,
                "attempts": [
                    {"number": 1, "attemptId": job_id, "startedAt": start, "stoppedAt": start + 1500, **figures}
                ],
                "total": {"attempts": 1, **figures},
            }

    run(scenario())


def test_usage_of_an_array_is_the_total_of_its_children(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            job_id = await server.submit(arrayProperties={"size": 2})
            await server.until(lambda: len(server.engine.launches) == 2)
            for attempt_id, memory in zip(list(server.engine.launches), (1000, 3000), strict=True):
                used = Usage(peak_memory_bytes=memory, cpu_seconds=1.5)
                server.engine.report(AttemptStarted(attempt_id, 1000), AttemptExited(attempt_id, 3000, 0, usage=used))
            await server.until_status(job_id, "SUCCEEDED")
            whole = await view(server, job_id, "usage")
            assert whole["attempts"] == []
            assert whole["total"] == {"attempts": 2, "wallSeconds": 4.0, "cpuSeconds": 3.0, "peakMemoryBytes": 3000}
            child = await view(server, f"{job_id}:1", "usage")
            assert child["jobId"] == f"{job_id}:1" and child["total"]["attempts"] == 1

    run(scenario())


def test_a_job_that_waits_has_used_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define(vcpus=64)
            job_id = await server.submit()
            answer = await view(server, job_id, "usage")
            assert answer == {"jobId": job_id, "attempts": [], "total": {"attempts": 0, "wallSeconds": 0.0}}

    run(scenario())


def test_the_place_of_a_job_is_its_running_attempt_and_the_daemon_that_has_it(tmp_path: Path) -> None:
    class Contained(ScriptedEngine):
        daemon_host = "unix:///run/docker.sock"

    async def scenario() -> None:
        async with house(tmp_path, Contained()) as server:
            await server.define()
            job_id = await server.submit()
            where = {"jobId": job_id, "engine": "scripted", "dockerHost": "unix:///run/docker.sock"}
            await server.until(lambda: job_id in server.engine.launches)
            assert await view(server, job_id, "place") == where
            server.engine.report(AttemptStarted(job_id, 1000))
            await server.until_status(job_id, "RUNNING")
            assert await view(server, job_id, "place") == {**where, "attemptId": job_id}
            server.engine.report(AttemptExited(job_id, 2000, 0))
            await server.until_status(job_id, "SUCCEEDED")
            assert await view(server, job_id, "place") == where

    run(scenario())


def test_an_image_is_needed_as_long_as_a_job_that_names_it_is_unfinished(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            job_id = await server.submit()
            await server.until(lambda: job_id in server.engine.launches)

            async def needed(image: str) -> bool:
                return await server.context.database.read(lambda connection: jobs.is_image_needed(connection, image))

            assert await needed("busybox")
            assert not await needed("busy")
            server.engine.report(AttemptStarted(job_id, 1000), AttemptExited(job_id, 2000, 0))
            await server.until_status(job_id, "SUCCEEDED")
            assert not await needed("busybox")

    run(scenario())


def test_notes_name_what_the_engine_does_not_honour(tmp_path: Path) -> None:
    class Picky(ScriptedEngine):
        def unsupported(self, container: dict[str, object]) -> list[str]:
            return [name for name in ("image", "user") if container.get(name)]

    async def scenario() -> None:
        async with house(tmp_path, Picky()) as server:
            await server.define()
            job_id = await server.submit(arrayProperties={"size": 2})
            for unit_id in (job_id, f"{job_id}:1", f"arn:aws:batch:us-east-1:123456789012:job/{job_id}:1"):
                answer = await view(server, unit_id, "notes")
                assert (answer["engine"], answer["notHonoured"]) == ("scripted", ["image"])

    run(scenario())


@pytest.mark.parametrize("name", sorted(native.JOB_VIEWS))
def test_what_is_no_job_is_not_found(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            job_id = await server.submit(arrayProperties={"size": 2})
            strange = ("nobody", f"{job_id}:2", f"{job_id}%3A02", f"{job_id}%23x", "%00", "..%2F..", "%FF", ":", "")
            for unit_id in (*strange, f"{job_id}:999999999", f"{job_id}:99999999999999999999"):
                status, body = await get(server, f"/v1/jobs/{unit_id}/{name}")
                assert status == 404 and body["message"], unit_id
            assert (await get(server, f"/v1/jobs/{job_id}/{name}", "POST"))[0] == 405

    run(scenario())


def test_paths_that_nobody_answers_are_not_found_in_json(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            for path in ("/", "/v1", "/v1/jobs", "/v2/jobs/x/usage", "/v1/jobs/x/nothing"):
                assert await get(server, path) == (404, {"message": "Not Found"})

    run(scenario())


def test_why_a_job_waits_from_its_submission_to_its_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=1)) as server:
            await server.define()
            first = await server.submit()
            await server.until(lambda: first in server.engine.launches)
            second = await server.submit()
            third = await server.submit(dependsOn=[{"jobId": first}])
            await server.until_status(second, "RUNNABLE")
            await server.until_status(third, "PENDING")
            assert (await view(server, first, "why"))["cause"] == "PLACED"
            assert await view(server, second, "why") == {
                "jobId": second,
                "status": "RUNNABLE",
                "cause": "CAPACITY",
                "summary": (
                    "It is the next of queue default, and there is not enough room. default: it needs 1 vCPU, and of"
                    " the 1 vCPU that the environment may use 0 vCPUs are free; it needs 1 vCPU, and of the 1 vCPU"
                    " that this machine has 0 vCPUs are free."
                ),
                "startsWhen": "When enough of what runs there has ended.",
                "jobQueue": "default",
                "needs": {"vcpus": 1.0, "memoryMiB": 64, "gpus": 0},
                "environments": [
                    {
                        "computeEnvironment": "default",
                        "obstacle": "FULL",
                        "shortages": [
                            {"dimension": "VCPU", "of": of, "needed": 1.0, "total": 1.0, "used": 1.0}
                            for of in ("COMPUTE_ENVIRONMENT", "HOST")
                        ],
                    }
                ],
            }
            assert (await view(server, third, "why"))["waitsFor"] == [{"jobId": first, "status": "STARTING"}]
            server.engine.start_and_exit(first, 1)
            await server.until_status(third, "FAILED")
            answer = await view(server, third, "why")
            assert (answer["cause"], answer["summary"]) == ("ENDED", "It has ended: FAILED, Dependent Job failed.")

    run(scenario())


def test_a_job_that_the_scheduler_has_not_seen_yet(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            await server.runtime.close()
            job_id = await server.submit()
            assert (await view(server, job_id, "why"))["cause"] == "NOT_TAKEN_IN"

    run(scenario())


def test_a_snapshot_shows_the_front_of_the_queue(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=1)) as server:
            await server.define()
            first = await server.submit()
            array = await server.submit(arrayProperties={"size": 2})
            await server.until_status(f"{array}:1", "RUNNABLE")
            found = await server.call("GetJobQueueSnapshot", jobQueue="default")
            arn = "arn:aws:batch:us-east-1:123456789012:job/"
            assert [each["jobArn"] for each in found["frontOfQueue"]["jobs"]] == [f"{arn}{array}:0", f"{arn}{array}:1"]
            assert found["queueUtilization"]["totalCapacityUsage"] == [{"capacityUnit": "VCPU", "quantity": 1.0}]
            assert first in server.engine.launches
            with pytest.raises(ApiError, match="job-queue/nobody does not exist"):
                await server.call("GetJobQueueSnapshot", jobQueue="nobody")

    run(scenario())


def test_a_blocked_head_shows_its_reason_and_is_cancelled_after_a_restart_when_its_time_is_up(tmp_path: Path) -> None:
    limit = {"reason": "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT", "state": "RUNNABLE", "action": "CANCEL"}

    async def before() -> str:
        async with house(tmp_path, minimum_state_time_limit_seconds=1) as server:
            await server.define(memory=10_000_000)
            await server.call(
                "UpdateJobQueue", jobQueue="default", jobStateTimeLimitActions=[{**limit, "maxTimeSeconds": 1}]
            )
            job_id = await server.submit()
            job = await server.until_status(job_id, "RUNNABLE")
            assert job["statusReason"].startswith("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource")
            return job_id

    async def after(job_id: str) -> None:
        async with house(tmp_path) as server:
            job = await server.until_status(job_id, "FAILED")
            assert job["isCancelled"] and job["statusReason"] == (
                "Canceled by JobStateTimeLimit action due to reason: MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"
            )

    run(after(run(before())))
