"""Many clients at once: what they are told is true, and limits and order hold."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from batchyard.testing import Server, server
from tests.acceptance.crash_cases import Diary, check_children, dice, kill_supervisor
from tests.acceptance.job_cases import DEADLINE_SECONDS, Queues, fail, job_of, jobs_of, sh, succeed, unique, until
from tests.acceptance.test_boto3 import define
from tests.unit.runtime.yardhouse import house, run

pytestmark = pytest.mark.acceptance

T = TypeVar("T")

CLIENTS = 4
KILLS = 3


def at_once(work: Callable[[int], T], count: int = CLIENTS) -> list[T]:
    """What `work(number)` gives for each number, all begun at the same moment."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@contextmanager
def batch_client(yard: Server) -> Iterator[Any]:
    """A client that is told about every failure, instead of trying again by itself."""
    config = Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=10)
    client = boto3.session.Session(
        aws_access_key_id="testing", aws_secret_access_key="testing", region_name="us-east-1"
    ).client("batch", endpoint_url=yard.endpoint_url, config=config)
    try:
        yield client
    finally:
        client.close()


def test_every_client_gets_jobs_of_its_own(yard: Server, queue: str) -> None:
    definition = define(yard, unique("definition"))["jobDefinitionArn"]

    def submit(number: int) -> list[str]:
        submit = {"jobQueue": queue, "jobDefinition": definition}
        job_ids = [yard.batch.submit_job(jobName=f"job-{number}-{each}", **submit)["jobId"] for each in range(10)]
        # Whoever was answered sees the job, whatever it is doing by now.
        assert [job["jobName"] for job in jobs_of(yard, job_ids)] == [f"job-{number}-{each}" for each in range(10)]
        return job_ids

    job_ids = [job_id for found in at_once(submit) for job_id in found]
    assert len(set(job_ids)) == 10 * CLIENTS
    for job_id in job_ids:
        succeed(yard, job_id)


def test_revisions_have_no_gaps_and_no_twins(yard: Server) -> None:
    name = unique("definition")
    revisions = at_once(lambda _: [define(yard, name)["revision"] for _ in range(10)])
    assert sorted(itertools.chain.from_iterable(revisions)) == list(range(1, 10 * CLIENTS + 1))


def test_one_client_wins_a_name(yard: Server, queues: Queues) -> None:
    environment, name = queues.environment(), unique("queue")
    order = [{"order": 1, "computeEnvironment": environment}]

    def create(number: int) -> str:
        try:
            yard.batch.create_job_queue(jobQueueName=name, priority=number, computeEnvironmentOrder=order)
        except ClientError as error:
            assert "already exists" in str(error)
            return "refused"
        return "created"

    assert sorted(at_once(create)) == ["created"] + ["refused"] * (CLIENTS - 1)


def test_no_more_runs_at_once_than_the_environment_has_room_for(yard: Server, queues: Queues, tmp_path: Path) -> None:
    """The first three wait for each other, so that the room is seen to be used, too."""
    queue = queues.make(max_vcpus=3)
    diary = Diary(tmp_path)
    meet = 'test $AWS_BATCH_JOB_ARRAY_INDEX -ge 3 || until [ "$(wc -l < "$1/order")" -ge 3 ]; do sleep 0.02; done'
    array = yard.submit(diary.command(meet), queue=queue, arrayProperties={"size": 30})
    succeed(yard, array)
    at_work = most = 0
    for what, _, _ in (line.split() for line in (tmp_path / "order").read_text().splitlines()):
        at_work += 1 if what == "begin" else -1
        most = max(most, at_work)
    assert most == 3
    check_children(yard, array, 30, diary)


def test_terminating_at_the_moment_of_starting_or_ending(yard: Server, queue: str) -> None:
    """Whoever is first, the job ends, and tells one consistent story."""
    lot = dice("terminate")
    definition = define(yard, unique("definition"), container={"command": ["sleep", "0.05"]})["jobDefinitionArn"]
    delays = [[lot.uniform(0, 0.15) for _ in range(8)] for _ in range(CLIENTS)]

    def submit_and_terminate(number: int) -> list[str]:
        job_ids = []
        for delay in delays[number]:
            job_ids.append(yard.batch.submit_job(jobName="job", jobQueue=queue, jobDefinition=definition)["jobId"])
            due = time.monotonic() + delay
            until(lambda due=due: time.monotonic() >= due, "the moment has come")  # type: ignore[misc]
            yard.batch.terminate_job(jobId=job_ids[-1], reason="too slow")
        return job_ids

    for job_id in itertools.chain.from_iterable(at_once(submit_and_terminate)):
        job = yard.wait_for(job_id)
        if job["status"] == "SUCCEEDED":
            assert (job["isTerminated"], job["container"]["exitCode"]) == (False, 0)
        else:
            assert (job["isTerminated"], job["statusReason"]) == (True, "too slow")


def test_a_graph_of_dependencies_is_run_in_its_order(yard: Server, queue: str) -> None:
    lot = random.Random(7)
    definition = define(yard, unique("definition"))["jobDefinitionArn"]
    job_ids: list[str] = []
    needs: list[list[int]] = []
    for number in range(60):
        needed = sorted(lot.sample(range(number), min(number, lot.randint(0, 3))))
        depends_on = [{"jobId": job_ids[each]} for each in needed]
        answer = yard.batch.submit_job(
            jobName=f"job-{number}", jobQueue=queue, jobDefinition=definition, dependsOn=depends_on
        )
        job_ids.append(answer["jobId"])
        needs.append(needed)
    for job_id in job_ids:
        succeed(yard, job_id)
    jobs = jobs_of(yard, job_ids)
    for job, needed in zip(jobs, needs, strict=True):
        assert all(jobs[each]["stoppedAt"] <= job["startedAt"] for each in needed)


def test_a_job_submitted_while_its_dependency_ends(tmp_path: Path) -> None:
    """The scheduler hears of both in one turn: the dependency is not gone, it has succeeded."""

    async def scenario() -> None:
        async with house(tmp_path) as home:
            await home.define()
            first = await home.submit()
            await home.until_status(first, "STARTING")
            second = await home.submit(dependsOn=[{"jobId": first}])
            home.engine.start_and_exit(first)
            await home.until_status(second, "STARTING")

    run(scenario())


def test_a_chain_whose_head_fails_falls_over_at_once(yard: Server, queue: str) -> None:
    """However long: the last of them learns of it in the same moment."""
    definition = define(yard, unique("definition"), container={"command": ["false"]})["jobDefinitionArn"]
    submit = {"jobName": "job", "jobQueue": queue, "jobDefinition": definition}
    job_ids = [yard.batch.submit_job(**submit)["jobId"]]
    for _ in range(100):
        job_ids.append(yard.batch.submit_job(**submit, dependsOn=[{"jobId": job_ids[-1]}])["jobId"])
    fail(yard, job_ids[-1])
    ended = jobs_of(yard, job_ids)
    assert {job["status"] for job in ended} == {"FAILED"}
    assert {job["statusReason"] for job in ended[1:]} == {"Dependent Job failed"}


@pytest.mark.crash
def test_every_acknowledged_job_is_there_after_kills_in_the_middle_of_submissions(tmp_path: Path) -> None:
    """Four clients submit while the server is killed three times. Whatever was answered is kept, and runs once."""
    lot = dice("submissions")
    moments = sorted(lot.sample(range(20, 200), KILLS))
    ran = tmp_path / "ran"
    ran.touch()
    acknowledged: list[str] = []
    refusals: list[Exception] = []
    done = threading.Event()
    with server(overcommit=True, check_invariants=True) as yard:
        queue = Queues(yard).make(max_vcpus=16)
        command = sh('echo $AWS_BATCH_JOB_ID >> "$1"', ran)
        definition = define(yard, unique("definition"), container={"command": command})["jobDefinitionArn"]

        def submit_until_done() -> None:
            with batch_client(yard) as batch:
                while not done.is_set():
                    try:
                        answer = batch.submit_job(jobName="job", jobQueue=queue, jobDefinition=definition)
                    except (BotoCoreError, ClientError) as error:
                        refusals.append(error)
                        done.wait(0.02)
                    else:
                        acknowledged.append(answer["jobId"])

        threads = [threading.Thread(target=submit_until_done) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            for moment in moments:
                until(lambda moment=moment: len(acknowledged) >= moment, f"{moment} jobs")  # type: ignore[misc]
                print(f"killed after {len(acknowledged)} acknowledged jobs")
                yard.kill()
                yard.start()
        finally:
            done.set()
            for thread in threads:
                thread.join()

        assert refusals, "no client noticed that the server was down"
        assert all(str(_http_status(error))[0] == "5" for error in refusals if isinstance(error, ClientError)), refusals
        jobs = jobs_of(yard, acknowledged)
        assert len(jobs) == len(acknowledged) == len(set(acknowledged))
        for job_id in acknowledged:
            yard.wait_for(job_id, DEADLINE_SECONDS, "SUCCEEDED")
        lines = ran.read_text().splitlines()
        assert len(lines) == len(set(lines)), "a job ran twice"
        assert set(acknowledged) <= set(lines)


def _http_status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


@pytest.mark.crash
def test_every_acknowledged_termination_is_carried_out_after_a_kill(tmp_path: Path) -> None:
    lot = dice("terminations")
    with server(overcommit=True, check_invariants=True) as yard:
        queue = Queues(yard).make(max_vcpus=40)
        array = yard.submit(["sleep", "600"], queue=queue, arrayProperties={"size": 40})
        until(lambda: job_of(yard, array)["arrayProperties"]["statusSummary"]["RUNNING"] == 40, "all 40 children run")
        terminated: list[str] = []
        stop_after = lot.randint(5, 35)

        def terminate(number: int) -> None:
            with batch_client(yard) as batch:
                for index in range(number, 40, CLIENTS):
                    try:
                        batch.terminate_job(jobId=f"{array}:{index}", reason=f"number {index}")
                    except (BotoCoreError, ClientError):
                        return
                    terminated.append(f"{array}:{index}")
                    if len(terminated) == stop_after:
                        yard.kill()

        at_once(terminate)
        yard.kill()
        yard.start()
        for job_id in terminated:
            assert fail(yard, job_id)["statusReason"] == f"number {job_id.rpartition(':')[2]}"
        others = [f"{array}:{index}" for index in range(40) if f"{array}:{index}" not in terminated]
        # A request may have been taken whose answer was cut off: then the child has failed by that reason, too.
        for job in jobs_of(yard, others):
            assert job["status"] == "RUNNING" or job["statusReason"].startswith("number ")
        yard.batch.terminate_job(jobId=array, reason="the test is over")
        fail(yard, array)


@pytest.mark.crash
def test_a_pipeline_gets_through_although_its_supervisor_is_killed(tmp_path: Path) -> None:
    """N_TO_N between two arrays: the second one's child never runs before its partner has succeeded."""
    lot = dice("pipeline")
    first_folder, second_folder = tmp_path / "first", tmp_path / "second"
    for folder in (first_folder, second_folder):
        folder.mkdir()
    first, second = Diary(first_folder), Diary(second_folder)
    with server(overcommit=True, check_invariants=True) as yard:
        queue = Queues(yard).make(max_vcpus=8)
        array: dict[str, Any] = {"arrayProperties": {"size": 60}, "retryStrategy": {"attempts": 10}}
        before = yard.submit(first.command(), queue=queue, **array)
        needs_partner = f'grep -q "^$AWS_BATCH_JOB_ARRAY_INDEX " {first.lines} || exit 9'
        after = yard.submit(
            second.command(needs_partner), queue=queue, **array, dependsOn=[{"jobId": before, "type": "N_TO_N"}]
        )
        for moment in sorted(lot.sample(range(5, 50), 2)):
            until(lambda moment=moment: first.size >= moment, f"{moment} children are done")  # type: ignore[misc]
            kill_supervisor(yard)
        for job_id in (before, after):
            yard.wait_for(job_id, DEADLINE_SECONDS, "SUCCEEDED")
        check_children(yard, before, 60, first)
        check_children(yard, after, 60, second)
