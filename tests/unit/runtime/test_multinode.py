"""Multi-node jobs through the API, the store and the runtime (the multi-node pages; client expectations 11-13)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchyard.core.inputs import AttemptExited, AttemptStarted
from batchyard.core.job import attempt_id
from batchyard.exceptions import ApiError
from batchyard.runtime.hosts import address_block
from batchyard.runtime.retention import Retention
from tests.unit.runtime.yardhouse import House, ScriptedEngine, house, run

NOW_MS = 1_700_000_000_000
VARIABLES = ("NODE_INDEX", "NUM_NODES", "MAIN_NODE_INDEX", "MAIN_NODE_PRIVATE_IPV4_ADDRESS")


def node_range(target: str, **members: Any) -> dict[str, Any]:
    container = {"image": "busybox", "vcpus": 1, "memory": 64, "command": ["node", target], **members}
    return {"targetNodes": target, "container": container}


class Gang:
    """One multi-node job on a server, and what its nodes' engine was told."""

    def __init__(self, server: House, job_id: str) -> None:
        self.server = server
        self.job_id = job_id

    @classmethod
    async def submitted(cls, server: House, *ranges: dict[str, Any], count: int, main: int = 0, **params: Any) -> Gang:
        properties = {"numNodes": count, "mainNode": main, "nodeRangeProperties": list(ranges)}
        await server.call(
            "RegisterJobDefinition", jobDefinitionName="gang", type="multinode", nodeProperties=properties
        )
        return cls(server, await server.submit(definition="gang", **params))

    def attempt(self, index: int, number: int = 1) -> str:
        return attempt_id(self.job_id, index, number)

    async def until_launched(self, index: int, number: int = 1) -> dict[str, str]:
        """The environment of a node, once it was launched."""
        attempt = self.attempt(index, number)
        await self.server.until(lambda: attempt in self.server.engine.launches)
        return self.server.engine.launches[attempt].environment

    async def start(self, *indices: int) -> None:
        for index in indices:
            await self.until_launched(index)
            self.server.engine.report(AttemptStarted(self.attempt(index), NOW_MS))
            await self.server.until_status(f"{self.job_id}#{index}", "RUNNING")

    def exit(self, index: int, code: int = 0) -> None:
        self.server.engine.held[self.attempt(index)] = True
        self.server.engine.report(AttemptExited(self.attempt(index), NOW_MS + 1000, code))

    async def node(self, index: int) -> dict[str, Any]:
        return await self.server.job(f"{self.job_id}#{index}")


def test_the_main_node_goes_first_and_each_node_knows_its_place(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=4)) as server:
            gang = await Gang.submitted(server, node_range("0"), node_range("1:"), count=3, main=1)
            await gang.until_launched(1)
            assert list(server.engine.launches) == [gang.attempt(1)]
            await gang.start(1, 0, 2)
            told = [await gang.until_launched(index) for index in range(3)]
            main_address = told[1]["BATCHYARD_NODE_PRIVATE_IPV4_ADDRESS"]
            found = [tuple(each.get(f"AWS_BATCH_JOB_{name}") for name in VARIABLES) for each in told]
            assert found == [("0", "3", "1", main_address), ("1", "3", "1", None), ("2", "3", "1", main_address)]
            assert [each["AWS_BATCH_JOB_ID"] for each in told] == [f"{gang.job_id}#{index}" for index in range(3)]
            assert not any("AWS_BATCH_JOB_ARRAY_INDEX" in each for each in told)
            addresses = {each["BATCHYARD_NODE_PRIVATE_IPV4_ADDRESS"] for each in told}
            assert len(addresses) == 3 and all(each.startswith(address_block(tmp_path)) for each in addresses)

    run(scenario())


def test_each_range_runs_its_own_container(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=8)) as server:
            gang = await Gang.submitted(server, node_range(":"), node_range("1", vcpus=3, memory=500), count=3, main=0)
            await gang.start(0, 1, 2)
            launches = [server.engine.launches[gang.attempt(index)] for index in range(3)]
            assert [launch.command for launch in launches] == [("node", ":"), ("node", "1"), ("node", ":")]
            assert [(launch.vcpu_milli, launch.memory_mib) for launch in launches] == [
                (1000, 64),
                (3000, 500),
                (1000, 64),
            ]

    run(scenario())


def test_how_the_job_and_its_nodes_are_described(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=4)) as server:
            gang = await Gang.submitted(server, node_range("0:"), count=2, tags={"team": "blue"})
            waiting = await server.job(gang.job_id)
            assert "container" not in waiting and waiting["attempts"] == []
            assert waiting["nodeProperties"]["nodeRangeProperties"][0]["container"]["command"] == ["node", "0:"]
            await gang.start(0, 1)
            job, node = await server.job(gang.job_id), await gang.node(1)
            assert "container" not in job and "nodeDetails" not in job and "arrayProperties" not in job
            assert job["tags"] == {"team": "blue"} and job["status"] == "RUNNING"
            assert (node["jobId"], node["tags"], "nodeProperties" in node) == (f"{gang.job_id}#1", {}, False)
            assert node["nodeDetails"] == {"nodeIndex": 1, "isMainNode": False}
            assert {"environment", "command", "resourceRequirements"} <= node["container"].keys()
            assert (await gang.node(0))["nodeDetails"]["isMainNode"]
            gang.exit(0, 3)
            gang.exit(1, 143)
            ended = await server.until_status(gang.job_id, "FAILED")
            assert ended["attempts"][-1]["container"]["exitCode"] == 3
            assert (ended["startedAt"], ended["stoppedAt"]) == (NOW_MS, NOW_MS + 1000)
            assert ended["attempts"] == (await gang.node(0))["attempts"]

    run(scenario())


def test_the_nodes_are_listed_by_the_jobs_id(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=4)) as server:
            gang = await Gang.submitted(server, node_range("0:"), count=3, main=2)
            await gang.start(2, 0, 1)
            nodes = (await server.call("ListJobs", multiNodeJobId=gang.job_id))["jobSummaryList"]
            assert [node["jobId"] for node in nodes] == [f"{gang.job_id}#{index}" for index in range(3)]
            assert nodes[2]["nodeProperties"] == {"isMainNode": True, "numNodes": 3, "nodeIndex": 2}
            (job,) = (await server.call("ListJobs", jobQueue="default"))["jobSummaryList"]
            assert job["nodeProperties"] == {"numNodes": 3} and "arrayProperties" not in job
            assert job["capacityUsage"] == [{"capacityUnit": "VCPU", "quantity": 3.0}]
            assert nodes[0]["capacityUsage"] == [{"capacityUnit": "VCPU", "quantity": 1.0}]
            with pytest.raises(ApiError, match="is not an array job"):
                await server.call("ListJobs", arrayJobId=gang.job_id)

    run(scenario())


def test_a_node_is_found_by_its_arn_and_however_its_index_is_marked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=4)) as server:
            gang = await Gang.submitted(server, node_range("0:"), count=2)
            arn = (await server.job(gang.job_id))["jobArn"]
            for spelled in (f"{arn}#1", f"{gang.job_id}#1", f"{gang.job_id}:1"):
                assert (await server.job(spelled))["jobId"] == f"{gang.job_id}#1"
            nobody = [f"{gang.job_id}#01", f"{gang.job_id}#2"]
            assert (await server.call("DescribeJobs", jobs=nobody))["jobs"] == []

    run(scenario())


def test_terminating_the_main_node_is_terminating_the_job(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=4)) as server:
            gang = await Gang.submitted(server, node_range("0:"), count=2)
            await gang.start(0, 1)
            await server.call("TerminateJob", jobId=f"{gang.job_id}#0", reason="enough")
            await server.until(lambda: sorted(server.engine.stopped) == sorted([gang.attempt(0), gang.attempt(1)]))
            gang.exit(0, 143)
            gang.exit(1, 143)
            assert (await server.until_status(gang.job_id, "FAILED"))["statusReason"] == "enough"

    run(scenario())


def test_a_job_can_wait_for_one_node(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=4)) as server:
            await server.define()
            gang = await Gang.submitted(server, node_range("0:"), count=2)
            waiter = await server.submit(dependsOn=[{"jobId": f"{gang.job_id}#1"}])
            await gang.start(0, 1)
            await server.until_status(waiter, "PENDING")
            gang.exit(1)
            await server.until(lambda: waiter in server.engine.launches)
            later = await server.submit(dependsOn=[{"jobId": f"{gang.job_id}#1"}])
            await server.until(lambda: later in server.engine.launches)

    run(scenario())


def test_each_range_logs_where_it_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=4)) as server:
            options = {"awslogs-group": "others", "awslogs-stream-prefix": "node"}
            gang = await Gang.submitted(
                server,
                node_range("0"),
                node_range("1:", logConfiguration={"logDriver": "awslogs", "options": options}),
                count=2,
            )
            await gang.start(0, 1)
            main, other = await gang.node(0), await gang.node(1)
            assert main["container"]["logStreamName"] == f"gang/default/{gang.attempt(0)}"
            assert other["container"]["logStreamName"] == f"node/default/{gang.attempt(1)}"
            for group, node in (("/aws/batch/job", main), ("others", other)):
                streams = (await server.call("DescribeLogStreams", "logs", logGroupName=group))["logStreams"]
                assert [each["logStreamName"] for each in streams] == [node["container"]["logStreamName"]]

    run(scenario())


def test_the_nodes_go_with_their_job_when_its_time_is_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=4), job_retention_days=0.0) as server:
            gang = await Gang.submitted(server, node_range("0:"), count=2)
            await gang.start(0, 1)
            gang.exit(0)
            gang.exit(1)
            await server.until_status(gang.job_id, "SUCCEEDED")
            context = server.context
            assert await Retention(context.settings, context.clock, context.database, context.logs).sweep() == 1
            asked = [gang.job_id, f"{gang.job_id}#1"]
            assert (await server.call("DescribeJobs", jobs=asked))["jobs"] == []
            streams = await server.call("DescribeLogStreams", "logs", logGroupName="/aws/batch/job")
            assert streams["logStreams"] == []

    run(scenario())


@pytest.mark.parametrize("main_runs", [False, True])
def test_after_a_restart_the_gang_goes_on(tmp_path: Path, main_runs: bool) -> None:
    engine = ScriptedEngine(vcpus=4)

    async def before() -> str:
        async with house(tmp_path, engine) as server:
            gang = await Gang.submitted(server, node_range("0:"), count=3)
            await gang.until_launched(0)
            if main_runs:
                await gang.start(0, 1)
            return gang.job_id

    async def after(job_id: str) -> None:
        async with house(tmp_path, engine) as server:
            gang = Gang(server, job_id)
            await gang.start(*(() if main_runs else (0, 1)), 2)
            # Nodes that had started before are left alone; those that hadn't may be asked for again.
            again = {gang.attempt(index) for index in ((0, 1) if main_runs else ())} & set(engine.launched_again)
            assert again == set()
            for index in range(3):
                gang.exit(index)
            await server.until_status(job_id, "SUCCEEDED")

    run(after(run(before())))


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"arrayProperties": {"size": 2}}, "can not be used with multi-node parallel jobs"),
        ({"containerOverrides": {"command": ["x"]}}, "should not be set for a node property job"),
        ({"nodeOverrides": {"nodePropertyOverrides": [{"targetNodes": "7"}]}}, "is not a node range"),
    ],
)
def test_what_a_multi_node_job_cannot_be_submitted_with(tmp_path: Path, params: dict[str, Any], text: str) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            with pytest.raises(ApiError, match=text):
                await Gang.submitted(server, node_range("0:"), count=2, **params)

    run(scenario())


def test_two_data_folders_hand_out_different_addresses(tmp_path: Path) -> None:
    blocks = {address_block(tmp_path / str(number)) for number in range(20)}
    assert len(blocks) > 10 and address_block(tmp_path) == address_block(tmp_path)
    assert all(block.startswith("127.") and 16 <= int(block[4:]) < 240 for block in blocks)
