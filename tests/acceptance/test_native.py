"""Batchyard's own endpoints on a real server with the process engine."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from batchyard.testing import Server, server

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def yard() -> Iterator[Server]:
    with server(overcommit=True) as yard:
        yield yard


def get(yard: Server, path: str, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(f"{yard.endpoint_url}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_figures_of_a_real_process(yard: Server) -> None:
    job_id = yard.submit(["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])
    job = yard.wait_for(job_id)
    status, body = get(yard, f"/batchyard/v1/jobs/{job['jobId']}/usage")
    (attempt,) = body["attempts"]
    assert status == 200 and (attempt["startedAt"], attempt["stoppedAt"]) == (job["startedAt"], job["stoppedAt"])
    assert 0 < attempt["cpuSeconds"] < 60 and 100_000 < attempt["peakMemoryBytes"] < 1 << 30
    assert get(yard, f"/batchyard/v1/jobs/{job['jobId']}/notes")[1]["notHonoured"] == ["image"]


def test_foreign_pages_get_nothing_and_unknown_jobs_are_not_found(yard: Server) -> None:
    path = "/batchyard/v1/jobs/nobody%23/usage"
    assert get(yard, path)[0] == 404
    assert get(yard, path, Host="evil.example")[0] == 403
    assert get(yard, path, Origin="http://evil.example")[0] == 403


def test_why_says_what_a_job_waits_for(yard: Server) -> None:
    holder = yard.submit(["sleep", "600"])
    yard.wait_for(holder, status="RUNNING")
    waiting = yard.submit(["true"], dependsOn=[{"jobId": holder}])
    yard.wait_for(waiting, status="PENDING")
    said = subprocess.run(
        [sys.executable, "-m", "batchyard", "why", waiting, "--endpoint", yard.endpoint_url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"It waits for 1 other job to succeed: {holder} (RUNNING)." in said
    yard.batch.terminate_job(jobId=holder, reason="seen")
    yard.wait_for(waiting, status="FAILED")
    assert get(yard, f"/batchyard/v1/jobs/{waiting}/why")[1]["cause"] == "ENDED"
