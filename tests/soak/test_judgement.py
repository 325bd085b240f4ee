"""The soak can fail: what it has to find, it finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.soak.records import Line, Lost, Records, complaint, is_lost
from tests.soak.samples import BOUNDS, Sample, long_life, trends

NOBODY = Lost([])
LOSS = "Host EC2 (instance i-0123456789abcdef0) terminated."


def job(status: str = "SUCCEEDED", *codes: int | None, reason: str = "") -> dict[str, Any]:
    attempts = [
        {"container": {} if code is None else {"exitCode": code}, "statusReason": reason, "stoppedAt": 100_000}
        for code in codes
    ]
    return {"jobId": "job", "status": status, "attempts": attempts, "container": attempts[-1]["container"]}


def test_a_job_that_wrote_what_the_api_says_is_right() -> None:
    assert complaint(job("SUCCEEDED", 3, 0), [Line(1, None), Line(1, 3), Line(2, None), Line(2, 0)], NOBODY) is None


@pytest.mark.parametrize(
    ("told", "lines"),
    [
        (job("SUCCEEDED", 0), []),
        (job("SUCCEEDED", 0), [Line(1, None)]),
        (job("SUCCEEDED", 0), [Line(1, None), Line(1, None), Line(1, 0)]),
        (job("SUCCEEDED", 0), [Line(1, None), Line(1, 0), Line(2, None)]),
        (job("SUCCEEDED", 0), [Line(1, None), Line(1, 3)]),
        (job("FAILED", 3), [Line(1, None), Line(1, 0)]),
        (job("FAILED", 0), [Line(1, None), Line(1, 0)]),
        (job("FAILED", None, reason=LOSS), [Line(1, None)]),
    ],
)
def test_a_job_that_wrote_something_else_is_found(told: dict[str, Any], lines: list[Line]) -> None:
    assert complaint(told, lines, NOBODY) is not None


def test_a_loss_is_explained_by_the_death_of_a_supervisor_shortly_before() -> None:
    lost = job("FAILED", None, reason=LOSS)
    assert is_lost(lost)
    assert complaint(lost, [Line(1, None)], Lost([98.0])) is None
    assert complaint(lost, [Line(1, None)], Lost([5.0])) is not None
    assert complaint(lost, [Line(1, None)], Lost([200.0])) is not None


def test_records_are_read_as_they_grow(tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    with records.path.open("a") as file:
        for part in ("a 1 begin\nb:3 1 be", "gin\na 1 end 7\n"):
            file.write(part)
            file.flush()
            records.read()
    assert (records.take("a"), records.take("b:3")) == ([Line(1, None), Line(1, 7)], [Line(1, None)])
    assert (records.begun, records.left) == (2, [])
    records.close()


def samples(count: int, *, growing: str = "", by: float = 0.0) -> list[Sample]:
    """One each five seconds, all alike but for what grows by so much a minute."""
    flat = dict.fromkeys(Sample._fields, 50)
    return [
        Sample(**{**flat, "minute": number / 12, **({growing: 50 + by * number / 12} if growing else {})})
        for number in range(count)
    ]


def test_what_stays_as_it_is_holds() -> None:
    assert all(trend.holds for trend in trends(samples(360)))
    assert len(trends(samples(360))) == len(BOUNDS)


@pytest.mark.parametrize("field", [bound.field for bound in BOUNDS])
def test_what_grows_is_found(field: str) -> None:
    broken = [trend.bound.field for trend in trends(samples(360, growing=field, by=10)) if not trend.holds]
    assert broken == [field]


def test_a_server_that_grows_in_its_last_life_is_found() -> None:
    assert (flat := long_life(samples(360), 18.0)) is not None and flat.holds
    assert (grown := long_life(samples(360, growing="server_mib", by=3), 18.0)) is not None and not grown.holds
    assert long_life(samples(360), 24.0) is None
