from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from batchyard.cli.errors import CliError
from batchyard.cli.watch import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, PATIENCE_SECONDS, watch
from tests.unit.cli.service import JOB_ID, Service, job

Answer = dict[str, Any] | None | Exception


def service_of(*answers: Answer) -> Service:
    """DescribeJobs answers these one after the other; None: it doesn't know the job."""
    left = list(answers)

    def describe(_params: dict[str, Any]) -> dict[str, Any]:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"jobs": [] if answer is None else [answer]}

    return Service(DescribeJobs=describe)


def away() -> Exception:
    error: Exception = EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
    return error


class Times:
    """A clock that moves by what is slept."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def monotonic(self) -> float:
        return sum(self.pauses)


def run(service: Service, busy: set[str], times: Times) -> dict[str, Any]:
    with service.api as api:
        return watch(api, JOB_ID, lambda seen: seen["status"] in busy, sleep=times.sleep, monotonic=times.monotonic)


def test_it_looks_less_often_while_nothing_happens_and_never_rarer_than_once_a_second() -> None:
    times = Times()
    run(service_of(*[job()] * 20, job(status="SUCCEEDED")), set(), times)
    assert times.pauses == sorted(times.pauses)
    assert times.pauses[0] < 0.1
    assert times.pauses[-1] == LONGEST_PAUSE_SECONDS


def test_it_looks_again_soon_when_something_happens() -> None:
    times = Times()
    run(service_of(*[job()] * 20, job(status="RUNNING"), job(status="SUCCEEDED")), {"RUNNING"}, times)
    assert times.pauses[-1] == FIRST_PAUSE_SECONDS


def test_a_server_that_goes_away_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    # botocore itself asks twice before it gives up.
    service = service_of(job(), *[away()] * 6, job(status="SUCCEEDED"))
    assert run(service, set(), Times())["status"] == "SUCCEEDED"
    assert capsys.readouterr().err.count("The server is away") == 1


def test_a_server_that_stays_away_is_given_up() -> None:
    times = Times()
    with pytest.raises(EndpointConnectionError):
        run(service_of(*[away()] * 400), set(), times)
    assert PATIENCE_SECONDS < times.monotonic() < PATIENCE_SECONDS + 2


def test_a_job_that_is_gone_ends_the_watching() -> None:
    with pytest.raises(CliError, match="there is no job"):
        run(service_of(job(), None), set(), Times())
