"""The three programs as jobs would run them: processes in an empty folder, told everything by arguments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from montecarlo import actions, storage

from tests.examples.conftest import MONTECARLO

SHARDS = 3


def prepare(base: Path, **changes: object) -> None:
    (base / "inputs").mkdir(parents=True)
    for name in ("index-history.csv.gz", "risk-free.csv"):
        (base / "inputs" / name).write_bytes((MONTECARLO / "data" / name).read_bytes())
    request = json.loads((MONTECARLO / "request.json").read_text())
    request |= {"options": 60, "shards": SHARDS, "paths": 512} | changes
    (base / "inputs" / "request.json").write_text(json.dumps(request))


def split(base: Path | str) -> int:
    return actions.main(["split", "-b", str(base), "-k", "inputs/request.json", "-o", f"{base}/shards"])


def price(base: Path | str, index: int | None, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.delenv("AWS_BATCH_JOB_ARRAY_INDEX", raising=False)
    if index is not None:
        monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", str(index))
    return actions.main(["price", "-b", str(base), "-k", "shards/", "-o", f"{base}/prices"])


def report(base: Path | str) -> int:
    return actions.main(["report", "-b", str(base), "-k", "prices/", "-o", f"{base}/report"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def priced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base where split and price have run."""
    prepare(tmp_path)
    assert split(tmp_path) == 0
    for index in range(SHARDS):
        assert price(tmp_path, index, monkeypatch) == 0
    return tmp_path


def test_the_whole_way_and_every_action_again(
    priced: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(priced) == 0
    assert "99 % one-day value at risk" in capsys.readouterr().out
    before = {name: contents(priced / name) for name in ("shards", "prices", "report")}
    assert set(before["report"]) == {"options.csv", "summary.json", "summary.md", "report.png"}
    assert split(priced) == price(priced, 1, monkeypatch) == report(priced) == 0
    assert {name: contents(priced / name) for name in ("shards", "prices", "report")} == before


def test_the_programs_run_as_a_jobs_command(tmp_path: Path) -> None:
    prepare(tmp_path / "base")
    work = tmp_path / "work"
    work.mkdir()
    environment = {"PATH": os.environ["PATH"], "MONTECARLO_PYTHON": sys.executable}
    # as in a container: a link to the program on the PATH
    (tmp_path / "price").symlink_to(MONTECARLO / "bin" / "montecarlo-price")
    base = str(tmp_path / "base")
    steps = [
        ([str(MONTECARLO / "bin" / "montecarlo-split"), "-k", "inputs/request.json", "-o", f"{base}/shards"], {}),
        ([str(tmp_path / "price"), "-k", "shards/", "-o", f"{base}/prices"], {"AWS_BATCH_JOB_ARRAY_INDEX": "2"}),
    ]
    for command, more in steps:
        done = subprocess.run(
            [*command, "-b", base], cwd=work, env=environment | more, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "base" / "prices" / "shard-00002.json").exists()
    assert list(work.iterdir()) == []


def test_a_wrong_volatility_fails_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path, paths=8192)
    split(tmp_path)
    market_path = tmp_path / "shards" / "market.json"
    right = market_path.read_bytes()
    wrong = json.loads(right)
    for index in wrong["indices"].values():
        # 30 % of volatility too much
        index["long_run_daily_variance"] *= 1.69
        index["next_day_variance"] *= 1.69
    market_path.write_text(json.dumps(wrong))
    for shard in range(SHARDS):
        price(tmp_path, shard, monkeypatch)
    market_path.write_bytes(right)
    assert report(tmp_path) == 1
    captured = capsys.readouterr()
    assert "FAILED: only" in captured.out
    assert "European prices are off" in captured.err
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert len(summary["failures"]) > 3


def test_prices_of_another_run_are_not_mixed_in(
    priced: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = json.loads((priced / "inputs" / "request.json").read_text())
    (priced / "inputs" / "request.json").write_text(json.dumps(request | {"seed": 1}))
    split(priced)
    price(priced, 0, monkeypatch)
    assert report(priced) == 1
    assert "shard-00001.json: left over from a run with other inputs" in capsys.readouterr().err


def test_a_missing_shard_fails_the_report(priced: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (priced / "prices" / "shard-00001.json").unlink()
    assert report(priced) == 1
    assert "shard-00001.json: no such object" in capsys.readouterr().err


def test_price_wants_an_array_index(
    priced: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert price(priced, None, monkeypatch) == 1
    assert "runs as the child of an array job" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shards": 1}, "1 shards"),
        ({"shards": 61}, "61 shards"),
        ({"paths": 511}, "come in pairs"),
        ({"options": "many"}, "must be a positive whole number"),
    ],
)
def test_requests_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], message: str
) -> None:
    prepare(tmp_path, **changes)
    assert split(tmp_path) == 1
    assert message in capsys.readouterr().err


def test_objects_in_another_filesystem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    base = "memory://bucket/montecarlo"
    for path in (tmp_path / "inputs").iterdir():
        storage.write_bytes(f"{base}/inputs/{path.name}", path.read_bytes())
    assert split(base) == 0
    for index in range(SHARDS):
        assert price(base, index, monkeypatch) == 0
    assert report(base) == 0
    assert storage.read_bytes(f"{base}/report/report.png").startswith(b"\x89PNG")
