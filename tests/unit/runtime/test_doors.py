"""Who is let in at which door, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from batchyard.api.roles.endpoint import GUEST, METADATA
from batchyard.api.roles.keys import Bearer, Credentials
from tests.sts_stand_in import sts_stand_in
from tests.unit.runtime.door_cases import ATTEMPTS, OWN, Doors, running
from tests.unit.runtime.yardhouse import house, run

ROLE = "arn:aws:iam::123456789012:role/r"
NOBODY = Credentials("AKIDEXAMPLE", "secret", "", 0)


@pytest.mark.parametrize("door", [OWN, ATTEMPTS])
def test_credentials_are_good_until_they_expire_or_the_attempt_ends(tmp_path: Path, door: tuple[str, int]) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            doors = Doors(server)
            bearer = await running(server, jobRoleArn=ROLE)
            now = server.context.clock.now_ms() // 1000
            fresh, old = doors.keys.credentials(bearer, now + 60), doors.keys.credentials(bearer, now - 1)
            status, answer = await doors.call("DescribeJobs", fresh, at=door, jobs=[bearer.job_id])
            assert (status, len(answer["jobs"])) == (200, 1)
            status, answer = await doors.call("DescribeJobs", old, at=door, jobs=[bearer.job_id])
            assert (status, answer["message"]) == (403, "The security token included in the request is expired")
            server.engine.start_and_exit(bearer.attempt_id)
            await server.until_status(bearer.job_id, "SUCCEEDED")
            status, answer = await doors.call("DescribeJobs", fresh, at=door, jobs=[bearer.job_id])
            assert (status, answer["message"]) == (403, "The security token included in the request is expired")

    run(scenario())


def test_a_presigned_request_of_an_attempts_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            doors = Doors(server)
            bearer = await running(server, jobRoleArn=ROLE)
            credentials = doors.keys.credentials(bearer, server.context.clock.now_ms() // 1000 + 60)
            scope = f"{credentials.access_key}/20261121/us-east-1/batch/aws4_request"
            query = f"X-Amz-Credential={quote(scope, safe='')}&X-Amz-Security-Token={credentials.token}"
            for door in (OWN, ATTEMPTS):
                status, answer = await doors.get("/v1/tags/arn", at=door, query=query)
                assert (status, answer["message"]) == (403, "The security token included in the request is invalid.")

    run(scenario())


NOWHERE = """
/v4 /v4/ /v4/%00 /v4/%ff%fe /v4/{place}/task/ /v4/{place}//task /v4/{place}-container-99999999999999999999
/v4/{place}-container-%C2%B2 /v2/credentials /v2/credentials/%ff /v2/credentials/{name}9 /attempt /attempt//x
/attempt/%2F%2F
"""


@pytest.mark.parametrize("path", [*NOWHERE.split(), f"/v4/{'a' * 5000}", f"/v4/{{place}}-container-{'1' * 5000}"])
def test_paths_that_lead_nowhere_are_refused(tmp_path: Path, path: str) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            doors = Doors(server)
            bearer = await running(server, jobRoleArn=ROLE)
            asked = path.format(name=bearer.name, place=doors.keys.place(METADATA, bearer))
            for door in (OWN, ATTEMPTS):
                assert (await doors.get(asked, doors.keys.authorization(bearer), at=door))[0] in (400, 403, 404)

    run(scenario())


def test_everybody_else_is_let_in_at_the_servers_own_door_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            doors = Doors(server)
            for credentials in (None, NOBODY):
                status, _ = await doors.call("DescribeJobs", credentials, at=OWN, jobs=["x"])
                assert status == 200
                status, answer = await doors.call("DescribeJobs", credentials, jobs=["x"])
                assert (status, answer["message"]) == (403, "The security token included in the request is invalid.")
            assert (await doors.get("/health", at=OWN))[0] == 200
            assert (await doors.get("/health"))[0] == 404
            assert (await doors.get("/batchyard/v1/jobs/x/usage"))[0] == 404

    run(scenario())


def test_web_pages_are_kept_from_both_doors(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            doors = Doors(server)
            place = doors.keys.place(METADATA, await running(server))
            for door in (OWN, ATTEMPTS):
                assert (await doors.get(f"/v4/{place}", at=door))[0] == 200
                assert (await doors.get(f"/v4/{place}", at=door, host="evil.example"))[0] == 403
                assert (await doors.get(f"/v4/{place}", at=door, origin="http://evil.example"))[0] == 403

    run(scenario())


def test_a_path_of_its_own_lets_an_attempt_in_whatever_it_signs_with(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            doors = Doors(server)
            bearer = await running(server, jobRoleArn=ROLE)
            place = doors.keys.place(GUEST, bearer)
            for credentials in (NOBODY, None):
                status, answer = await doors.call(
                    "DescribeJobs", credentials, prefix=f"/attempt/{place}", jobs=[bearer.job_id]
                )
                assert (status, len(answer["jobs"])) == (200, 1)
            for wrong in (place[:-1], doors.keys.place(METADATA, bearer), "garbage"):
                status, _ = await doors.call("DescribeJobs", NOBODY, prefix=f"/attempt/{wrong}", jobs=["x"])
                assert status in (403, 404)
            server.engine.start_and_exit(bearer.attempt_id)
            await server.until_status(bearer.job_id, "SUCCEEDED")
            assert (await doors.call("DescribeJobs", NOBODY, prefix=f"/attempt/{place}", jobs=["x"]))[0] == 403

    run(scenario())


def test_a_job_without_a_role_is_given_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            doors = Doors(server)
            bearer = await running(server)
            now = server.context.clock.now_ms() // 1000
            path = f"/v2/credentials/{bearer.name}"
            assert (await doors.get(path, doors.keys.authorization(bearer)))[0] == 404
            made = doors.keys.credentials(bearer, now + 60)
            assert (await doors.call("DescribeJobs", made, jobs=["x"]))[0] == 403

    run(scenario())


def test_an_attempt_that_never_was_has_no_credentials(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            doors = Doors(server)
            bearer = await running(server, jobRoleArn=ROLE)
            for other in (Bearer("nobody", None, 1), Bearer(bearer.job_id, 3, 1), Bearer(bearer.job_id, None, 2)):
                path = f"/v2/credentials/{other.name}"
                assert (await doors.get(path, doors.keys.authorization(other)))[0] == 404
                assert (await doors.get(f"/v4/{doors.keys.place(METADATA, other)}"))[0] == 404

    run(scenario())


def test_statistics_say_that_they_are_not_built(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            doors = Doors(server)
            place = doors.keys.place(METADATA, await running(server))
            for path in ("stats", "task/stats"):
                status, answer = await doors.get(f"/v4/{place}/{path}")
                assert (status, answer["message"]) == (501, "stats are not built in Batchyard yet")
            assert (await doors.get(f"/v4/{place}-container-1"))[0] == 404
            assert (await doors.get(f"/v4/{place}-container-x"))[0] == 404

    run(scenario())


def test_tags_come_with_the_task_where_they_are_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            doors = Doors(server)
            await server.define()
            job_id = await server.submit(tags={"team": "blue"})
            await server.until(lambda: job_id in server.engine.launches)
            place = doors.keys.place(METADATA, Bearer(job_id, None, 1))
            _, task = await doors.get(f"/v4/{place}/task")
            _, with_tags = await doors.get(f"/v4/{place}/taskWithTags")
            assert with_tags == {**task, "TaskTags": {"team": "blue"}}

    run(scenario())


@pytest.fixture
def real_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "servers")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own")


@pytest.mark.usefixtures("real_keys")
def test_a_real_role_is_assumed_once_for_all_processes_of_an_attempt(tmp_path: Path) -> None:
    async def scenario() -> None:
        with sts_stand_in() as sts:
            async with house(tmp_path, sts_endpoint_url=sts.url) as server:
                doors = Doors(server)
                bearer = await running(server, jobRoleArn=ROLE)
                path, token = f"/v2/credentials/{bearer.name}", doors.keys.authorization(bearer)
                answers = [await doors.get(path, token) for _ in range(3)]
                assert [status for status, _ in answers] == [200, 200, 200]
                document: dict[str, Any] = answers[0][1]
                assert (document["AccessKeyId"], document["Token"]) == ("ASIAREAL1", "real-token")
                assert all(answer == document for _, answer in answers)
                assert sts.asked == [(ROLE, bearer.attempt_id)]

    run(scenario())


@pytest.mark.usefixtures("real_keys")
def test_credentials_that_are_about_to_expire_are_asked_for_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        with sts_stand_in(lifetime_seconds=900) as sts:
            async with house(tmp_path, sts_endpoint_url=sts.url) as server:
                doors = Doors(server)
                bearer = await running(server, jobRoleArn=ROLE)
                path, token = f"/v2/credentials/{bearer.name}", doors.keys.authorization(bearer)
                assert [(await doors.get(path, token))[0] for _ in range(2)] == [200, 200]
                assert len(sts.asked) == 2

    run(scenario())


@pytest.mark.usefixtures("real_keys")
def test_a_role_that_can_not_be_assumed_is_said_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        with sts_stand_in() as sts:
            async with house(tmp_path, sts_endpoint_url=sts.url) as server:
                doors = Doors(server)
                bearer = await running(server, jobRoleArn=f"{ROLE}-forbidden")
                path = f"/v2/credentials/{bearer.name}"
                status, answer = await doors.get(path, doors.keys.authorization(bearer))
                assert (status, answer["code"]) == (502, "RoleNotAssumed")
                assert "not this role" in answer["message"]

    run(scenario())
