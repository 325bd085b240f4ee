"""Fair share through the real API, store and runtime, over a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batchyard.core.schedule.fairshare import usage_by_share
from batchyard.store import policies, shares
from tests.unit.runtime.yardhouse import House, ScriptedEngine, house, run


async def prepare(server: House) -> str:
    """A fair-share queue on the environment `default`; the policy's ARN."""
    arn = str((await server.call("CreateSchedulingPolicy", name="p"))["arn"])
    await server.define()
    order = [{"order": 1, "computeEnvironment": "default"}]
    await server.until_async(_is_valid)
    await server.call(
        "CreateJobQueue", jobQueueName="fair", priority=1, computeEnvironmentOrder=order, schedulingPolicyArn=arn
    )
    return arn


async def _is_valid(server: House) -> bool:
    found = await server.call("DescribeComputeEnvironments", computeEnvironments=["default"])
    return bool(found["computeEnvironments"][0]["status"] == "VALID")


async def submit(server: House, share: str) -> str:
    answer = await server.call(
        "SubmitJob",
        jobName="job",
        jobQueue="fair",
        jobDefinition="jd",
        shareIdentifier=share,
        schedulingPriorityOverride=0,
    )
    return str(answer["jobId"])


def used(server: House) -> dict[str, Any]:
    queue = server.runtime._yard.queues["fair"]
    return {use.share_identifier: use for use in usage_by_share(queue, server.context.clock.now_ms())}


def test_usage_and_running_attempts_survive_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = ScriptedEngine(vcpus=1)
        async with house(tmp_path, engine) as server:
            await prepare(server)
            ended, running = await submit(server, "a"), await submit(server, "b")
            await server.until(lambda: ended in engine.launches)
            engine.start_and_exit(ended)
            await server.until(lambda: running in engine.launches)
            before = used(server)
            snapshot = await server.call("GetJobQueueSnapshot", jobQueue="fair")
            utilization = snapshot["queueUtilization"]["fairshareUtilization"]
            assert utilization["activeShareCount"] == 2
            assert utilization["topCapacityUtilization"][0] == {
                "shareIdentifier": "b",
                "capacityUsage": [{"capacityUnit": "VCPU", "quantity": 1.0}],
            }
        async with house(tmp_path, engine) as server:
            after = used(server)
            assert after.keys() == before.keys() == {"a", "b"}
            assert after["b"].vcpu_milli == 1000
            assert after["a"].used_vcpu_seconds <= before["a"].used_vcpu_seconds
            assert after["b"].used_vcpu_seconds >= before["b"].used_vcpu_seconds
            engine.start_and_exit(running)
            await server.until_status(running, "SUCCEEDED")
            rows = await server.context.database.read(shares.all_rows)
            assert [(row.share_identifier, row.has_jobs) for row in rows] == [("a", False), ("b", False)]

    run(scenario())


def test_an_updated_policy_reaches_its_queues_and_holds_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            arn = await prepare(server)
            await server.until(lambda: "fair" in server.runtime._yard.queues)
            await server.call("UpdateSchedulingPolicy", arn=arn, fairsharePolicy={"shareDecaySeconds": 77})
            await server.until(lambda: server.runtime._yard.policies["p"].window_seconds == 77)
            await server.until_async(_settled)
        async with house(tmp_path) as server:
            queue = server.runtime._yard.queues["fair"]
            assert queue.shares is not None
            assert queue.shares.policy.window_seconds == 77

    run(scenario())


async def _settled(server: House) -> bool:
    return not await server.context.database.read(policies.unsettled)
