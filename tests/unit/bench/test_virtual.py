"""The core in virtual time: everything that is told to it runs, and is gone afterwards."""

from __future__ import annotations

from bench.probe import Probe
from bench.virtual import VCPUS, VirtualYard


def test_jobs_only_queue_before_the_yard_opens() -> None:
    probe = Probe()
    probe.singles(20)
    assert len(probe.yard.yard.jobs) == 20
    assert probe.yard.jobs_run == 0
    assert probe.yard.run(20) == 20
    assert not probe.yard.yard.jobs


def test_a_run_ends_soon_after_the_number_asked_for() -> None:
    probe = Probe()
    probe.arrays(1, 1000)
    done = probe.yard.run(100)
    assert 100 <= done <= 200 + VCPUS
    assert probe.yard.run(1000) == 1000 - done


def test_an_empty_yard_has_nothing_to_run() -> None:
    assert VirtualYard().run(1) == 0


def test_every_job_of_a_graph_runs() -> None:
    probe = Probe()
    probe.graph(jobs=60, layers=6, fan_in=4)
    assert 50 <= probe.edges <= 200
