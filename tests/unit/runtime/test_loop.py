"""Intents become states, states become effects, and a restart makes up for whatever was missed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from batchyard.clock import SystemClock
from batchyard.core.inputs import AttemptStarted
from batchyard.exceptions import StoreError
from batchyard.store import environments
from tests.unit.runtime.yardhouse import House, ScriptedEngine, house, run


def test_an_empty_folder_gets_a_default_environment_and_queue(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            environments = (await server.call("DescribeComputeEnvironments"))["computeEnvironments"]
            queues = (await server.call("DescribeJobQueues"))["jobQueues"]
            assert [(each["computeEnvironmentName"], each["status"]) for each in environments] == [("default", "VALID")]
            assert [(each["jobQueueName"], each["status"]) for each in queues] == [("default", "VALID")]

    run(scenario())


def test_a_submitted_job_is_launched_with_the_services_variables(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define(environment=[{"name": "MINE", "value": "1"}])
            job_id = await server.submit()
            await server.until(lambda: job_id in server.engine.launches)
            launch = server.engine.launches[job_id]
            assert launch.command == ("true",) and launch.memory_mib == 64 and launch.vcpu_milli == 1000
            metadata = launch.environment["ECS_CONTAINER_METADATA_URI_V4"]
            assert metadata.startswith(f"http://127.0.0.1:8000/v4/{job_id}.")
            assert launch.environment == {
                "MINE": "1",
                "ECS_CONTAINER_METADATA_URI_V4": metadata,
                "AWS_BATCH_JOB_ID": job_id,
                "AWS_BATCH_JQ_NAME": "default",
                "AWS_BATCH_CE_NAME": "default",
                "AWS_BATCH_JOB_ATTEMPT": "1",
            }

    run(scenario())


def test_array_children_know_their_index_and_size(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            job_id = await server.submit(arrayProperties={"size": 2})
            await server.until(lambda: len(server.engine.launches) == 2)
            found = {
                (env["AWS_BATCH_JOB_ID"], env["AWS_BATCH_JOB_ARRAY_INDEX"], env["AWS_BATCH_JOB_ARRAY_SIZE"])
                for env in (launch.environment for launch in server.engine.launches.values())
            }
            assert found == {(f"{job_id}:0", "0", "2"), (f"{job_id}:1", "1", "2")}

    run(scenario())


def test_the_attempts_end_is_stored_before_the_engine_may_forget_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            job_id = await server.submit()
            await server.until(lambda: job_id in server.engine.launches)
            server.engine.start_and_exit(job_id, 3)
            await server.until(lambda: job_id not in server.engine.held)
            job = await server.job(job_id)
            assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 3)

    run(scenario())


def test_a_log_stream_is_there_as_soon_as_the_job_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            job_id = await server.submit()
            await server.until(lambda: job_id in server.engine.launches)
            server.engine.report(AttemptStarted(job_id, 1_700_000_000_000))
            job = await server.until_status(job_id, "RUNNING")
            assert job["container"]["logStreamName"] == f"jd/default/{job_id}"
            streams = await server.call("DescribeLogStreams", "logs", logGroupName="/aws/batch/job")
            assert [stream["logStreamName"] for stream in streams["logStreams"]] == [f"jd/default/{job_id}"]

    run(scenario())


def test_terminating_a_running_job_reaches_the_engine(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            job_id = await server.submit()
            await server.until(lambda: job_id in server.engine.launches)
            await server.call("TerminateJob", jobId=job_id, reason="enough")
            await server.until(lambda: server.engine.stopped == [job_id])
            server.engine.start_and_exit(job_id, 143)
            job = await server.until_status(job_id, "FAILED")
            assert job["statusReason"] == "enough" and job["isTerminated"]

    run(scenario())


def test_after_a_restart_running_attempts_go_on_and_waiting_jobs_still_wait(tmp_path: Path) -> None:
    engine = ScriptedEngine(vcpus=1)

    async def before() -> tuple[str, str]:
        async with house(tmp_path, engine) as server:
            await server.define()
            first = await server.submit()
            second = await server.submit(dependsOn=[{"jobId": first}])
            await server.until(lambda: first in engine.launches)
            engine.report(AttemptStarted(first, SystemClock().now_ms()))
            await server.until_status(first, "RUNNING")
            await server.until_status(second, "PENDING")
            return first, second

    async def after(first: str, second: str) -> None:
        async with house(tmp_path, engine) as server:
            engine.start_and_exit(first)
            await server.until_status(first, "SUCCEEDED")
            await server.until(lambda: second in engine.launches)
            assert engine.launched_again == []

    run(after(*run(before())))


def test_an_attempt_that_ended_while_the_server_was_down_is_taken_in(tmp_path: Path) -> None:
    engine = ScriptedEngine()

    async def before() -> str:
        async with house(tmp_path, engine) as server:
            await server.define()
            job_id = await server.submit(retryStrategy={"attempts": 2})
            await server.until(lambda: job_id in engine.launches)
            return job_id

    async def after(job_id: str) -> None:
        async with house(tmp_path, engine) as server:
            engine.start_and_exit(job_id, 0)
            assert (await server.until_status(job_id, "SUCCEEDED"))["attempts"][0]["container"]["exitCode"] == 0

    run(after(run(before())))


def test_a_launch_that_never_reached_the_engine_is_made_again(tmp_path: Path) -> None:
    async def before() -> str:
        async with house(tmp_path, ScriptedEngine()) as server:
            await server.define()
            job_id = await server.submit()
            await server.until(lambda: job_id in server.engine.launches)
            return job_id

    async def after(job_id: str) -> None:
        async with house(tmp_path, ScriptedEngine()) as server:
            await server.until(lambda: job_id in server.engine.launches)
            assert (await server.job(job_id))["status"] == "STARTING"

    run(after(run(before())))


def test_a_submission_nobody_had_taken_in_runs_after_a_restart(tmp_path: Path) -> None:
    async def before() -> str:
        async with house(tmp_path) as server:
            await server.define()
            await server.runtime.close()
            return await server.submit()

    async def after(job_id: str) -> None:
        async with house(tmp_path) as server:
            await server.until(lambda: job_id in server.engine.launches)

    run(after(run(before())))


def test_a_database_that_takes_no_writes_stops_the_loop_until_it_heals(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            database = server.context.database
            job_id = await server.submit()
            await server.until(lambda: job_id in server.engine.launches)
            await database.write(lambda connection: connection.exec_driver_sql("ALTER TABLE jobs RENAME TO gone"))
            server.engine.start_and_exit(job_id)
            with pytest.raises(StoreError):
                await server.job(job_id)
            assert server.engine.held[job_id] and server.runtime.is_running
            await database.write(lambda connection: connection.exec_driver_sql("ALTER TABLE gone RENAME TO jobs"))
            await server.until_status(job_id, "SUCCEEDED")
            await server.until(lambda: job_id not in server.engine.held)

    run(scenario())


def test_stopping_the_jobs_ends_what_runs_and_keeps_what_waits(tmp_path: Path) -> None:
    engine = ScriptedEngine(vcpus=1)

    async def scenario() -> None:
        async with house(tmp_path, engine) as server:
            await server.define()
            first, second = await server.submit(), await server.submit()
            await server.until(lambda: first in engine.launches)
            stopping = asyncio.create_task(server.runtime.stop_jobs("going home"))
            await server.until(lambda: engine.stopped == [first])
            engine.start_and_exit(first, 143)
            await stopping
            assert (await server.job(first))["statusReason"] == "going home"
            assert (await server.job(second))["status"] == "RUNNABLE" and second not in engine.launches

    run(scenario())


def test_deleting_an_environment_and_a_queue_ends_in_their_absence(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.call("UpdateJobQueue", jobQueue="default", state="DISABLED")
            await until_valid(server, "DescribeJobQueues", "jobQueues")
            await server.call("DeleteJobQueue", jobQueue="default")
            await until_gone(server, "DescribeJobQueues", "jobQueues")
            await server.call("UpdateComputeEnvironment", computeEnvironment="default", state="DISABLED")
            await until_valid(server, "DescribeComputeEnvironments", "computeEnvironments")
            await server.call("DeleteComputeEnvironment", computeEnvironment="default")
            await until_gone(server, "DescribeComputeEnvironments", "computeEnvironments")

    async def until_valid(server: House, operation: str, member: str) -> None:
        async with asyncio.timeout(10):
            while (await server.call(operation))[member][0]["status"] != "VALID":  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    async def until_gone(server: House, operation: str, member: str) -> None:
        async with asyncio.timeout(10):
            while (await server.call(operation))[member]:  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    run(scenario())


async def settled(server: House, operation: str, member: str, **names: Any) -> None:
    async with asyncio.timeout(10):
        while (await server.call(operation, **names))[member][0]["status"] != "VALID":  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def test_a_queue_that_is_being_deleted_keeps_its_jobs_over_a_restart(tmp_path: Path) -> None:
    engine = ScriptedEngine()

    async def scenario() -> None:
        async with house(tmp_path, engine) as server:
            await server.define()
            job_id = await server.submit()
            await server.until(lambda: job_id in engine.launches)
            await server.call("UpdateJobQueue", jobQueue="default", state="DISABLED")
            await settled(server, "DescribeJobQueues", "jobQueues")
            await server.call("DeleteJobQueue", jobQueue="default")
            await server.until(lambda: job_id in engine.stopped)
        async with house(tmp_path, engine) as server:
            engine.start_and_exit(job_id, 143)
            assert (await server.until_status(job_id, "FAILED"))["statusReason"] == "JobQueue deleted"

    run(scenario())


def test_an_environment_that_is_being_deleted_keeps_its_jobs_over_a_restart(tmp_path: Path) -> None:
    engine = ScriptedEngine()

    async def scenario() -> None:
        async with house(tmp_path, engine) as server:
            await server.define()
            job_id = await server.submit()
            await server.until(lambda: job_id in engine.launches)
            await server.call(
                "CreateComputeEnvironment", computeEnvironmentName="other", type="UNMANAGED", serviceRole=""
            )
            environments = ("DescribeComputeEnvironments", "computeEnvironments")
            await settled(server, *environments, computeEnvironments=["other"])
            order = [{"order": 1, "computeEnvironment": "other"}]
            await server.call("UpdateJobQueue", jobQueue="default", computeEnvironmentOrder=order)
            await server.call("UpdateComputeEnvironment", computeEnvironment="default", state="DISABLED")
            await settled(server, *environments, computeEnvironments=["default"])
            await server.call("DeleteComputeEnvironment", computeEnvironment="default")
        async with house(tmp_path, engine) as server:
            engine.start_and_exit(job_id)
            await server.until_status(job_id, "SUCCEEDED")

    run(scenario())


def test_a_termination_reaches_a_job_that_has_not_been_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchyard.runtime.loop.MAX_JOBS_TAKEN_IN", 2)

    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            await server.runtime.close()
            job_ids = [await server.submit() for _ in range(5)]
            await server.call("TerminateJob", jobId=job_ids[-1], reason="never mind")
        async with house(tmp_path) as server:
            await server.until_status(job_ids[-1], "FAILED")

    run(scenario())


def test_jobs_of_a_deleted_queue_that_had_not_been_taken_in_end_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchyard.runtime.loop.MAX_JOBS_TAKEN_IN", 2)

    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            await server.runtime.close()
            job_ids = [await server.submit() for _ in range(5)]
            await server.context.database.write(
                lambda connection: connection.exec_driver_sql(
                    "UPDATE job_queues SET state = 'DISABLED', status = 'DELETING'"
                )
            )
        engine = ScriptedEngine()
        async with house(tmp_path, engine) as server:
            await server.until(lambda: bool(engine.stopped))
            for attempt_id in list(engine.launches):
                engine.start_and_exit(attempt_id, 143)
            for job_id in job_ids:
                assert (await server.until_status(job_id, "FAILED"))["statusReason"] == "JobQueue deleted"

    run(scenario())


def test_an_untouched_child_of_a_terminated_array_is_shown_as_terminated(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=1)) as server:
            await server.define()
            job_id = await server.submit(arrayProperties={"size": 3})
            await server.until(lambda: len(server.engine.launches) == 1)
            await server.call("TerminateJob", jobId=job_id, reason="enough")
            child = await server.until_status(f"{job_id}:2", "FAILED")
            assert child["statusReason"] == "enough" and child["isTerminated"]

    run(scenario())


def test_a_job_is_described_whole_after_its_environment_was_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            job_id = await server.submit()
            await server.until(lambda: job_id in server.engine.launches)
            server.engine.start_and_exit(job_id)
            await server.until_status(job_id, "SUCCEEDED")
            await server.context.database.write(lambda connection: environments.remove(connection, "default"))
            container = (await server.job(job_id))["container"]
            assert container["taskArn"].startswith("arn:aws:ecs:us-east-1:123456789012:task/default/")

    run(scenario())
