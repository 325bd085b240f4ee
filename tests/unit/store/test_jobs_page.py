"""Pages of a queue's jobs: the order they come in, and what finds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import NullPool

from batchyard.core.states import SUBMITTED
from batchyard.store import jobs, schema
from batchyard.store.jobs import JobFilter, JobRow

WITHOUT_SORTING = [
    JobFilter(queue="q", status=SUBMITTED),
    JobFilter(queue="q", created_before_ms=300),
    JobFilter(queue="q", definition="d:*"),
]
TIMES_MS = [100, 200, 200, 200, 150, 300]
"""In the order of submission: a clock that was set back once, and three jobs of one millisecond."""


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{tmp_path}/x.db", isolation_level="AUTOCOMMIT", poolclass=NullPool)
    schema.upgrade(engine)
    with engine.connect() as connection:
        for number, at_ms in enumerate(TIMES_MS, start=1):
            name = f"{'ab'[number % 2]}{number}"
            jobs.insert_submitted(
                connection, JobRow(f"id-{number}", name, "q", "d:1", at_ms, None, "group", "p/", b"{}", b"{}", b"{}")
            )
        yield connection


def listed(connection: Connection, wanted: JobFilter, page_size: int) -> list[int]:
    """The seqs of all pages, one after the other."""
    found: list[int] = []
    after = None
    while page := jobs.page(connection, wanted, after, page_size):
        found += [job.seq for job in page]
        after = jobs.position(wanted, page[-1])
    return found


@pytest.mark.parametrize("page_size", [1, 2, 100])
@pytest.mark.parametrize(
    ("wanted", "seqs"),
    [
        (JobFilter(queue="q", status=SUBMITTED), [6, 5, 4, 3, 2, 1]),
        (JobFilter(queue="q", created_before_ms=300), [4, 3, 2, 5, 1]),
        (JobFilter(queue="q", created_after_ms=150), [6, 4, 3, 2]),
        (JobFilter(queue="q", name="A*"), [2, 4, 6]),
        (JobFilter(queue="q", definition="d:*"), [6, 4, 3, 2, 5, 1]),
        (JobFilter(queue="other"), []),
    ],
    ids=["status", "before", "after", "name", "definition", "another queue"],
)
def test_pages_of_any_size_hold_all_jobs_once_and_in_order(
    connection: Connection, wanted: JobFilter, seqs: list[int], page_size: int
) -> None:
    assert listed(connection, wanted, page_size) == seqs


@pytest.mark.parametrize("wanted", WITHOUT_SORTING)
def test_no_page_sorts_all_jobs_of_a_queue(connection: Connection, wanted: JobFilter) -> None:
    run: list[tuple[str, Any]] = []

    @event.listens_for(connection, "before_cursor_execute")
    def note(_c: object, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool) -> None:
        run.append((statement, parameters))

    page = jobs.page(connection, wanted, None, 2)
    jobs.page(connection, wanted, jobs.position(wanted, page[-1]), 2)
    assert len(run) == 2
    for statement, parameters in run[:2]:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        assert not [step for step in plan if "TEMP B-TREE" in step[3]], plan
