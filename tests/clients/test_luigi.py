"""Luigi (luigi.contrib.batch): a pipeline of five jobs that wait for each other, and one that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchyard.testing import Server
from tests.clients.conftest import Run
from tests.requirements import require

PIPELINE = Path(__file__).with_name("luigi_pipeline.py")

pytestmark = pytest.mark.acceptance


@pytest.fixture(autouse=True)
def _installed() -> None:
    require("luigi")


def test_a_pipeline_counts_the_words_of_a_text(yard: Server, run_in: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("".join(f"{'word ' * number}\n" for number in range(1, 41)))
    ended = run_in("luigi", str(PIPELINE), "Total", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "total").read_text() == f"{sum(range(1, 41))}\n"
    assert {path.name for path in tmp_path.glob("count.*")} == {"count.0", "count.1", "count.2"}
    jobs = yard.batch.list_jobs(jobQueue="default", jobStatus="SUCCEEDED")["jobSummaryList"]
    assert len(jobs) == 5


def test_a_failed_job_is_reported_with_its_log(run_in: Run, tmp_path: Path) -> None:
    ended = run_in("luigi", str(PIPELINE), "Broken", str(tmp_path))
    assert ended.returncode == 1
    assert "BatchJobException" in ended.stderr
    assert "cannot count this" in ended.stderr
