"""SubmitJob of one array of 10,000 children: how long until it is on disk and answered."""

from __future__ import annotations

from collections.abc import Iterator

from bench import harness
from bench.figures import Figure, percentile
from bench.harness import Options

SIZE = 10_000
GOAL_MS = 50.0


def measure(options: Options) -> Iterator[Figure]:
    with harness.server() as yard:
        harness.make_queue(yard, "waiting", vcpus=1, places_jobs=False)
        definition = harness.register(yard, "true")
        body = {
            "jobName": "bench",
            "jobQueue": "waiting",
            "jobDefinition": definition,
            "arrayProperties": {"size": SIZE},
        }
        content = harness.request(yard, "/v1/submitjob", body)
        harness.send_load(yard, content, connections=1, count=1)
        tally = harness.send_load(yard, content, connections=1, count=20 if options.quick else 100)
    slowest = percentile(tally.latencies_ms, 99)
    yield Figure(
        f"SubmitJob, array of {SIZE:,}",
        "ms",
        tuple(tally.latencies_ms),
        goal=GOAL_MS,
        lower_is_better=True,
        note=f"p99 {slowest:.1f} ms; one client, each call after the one before",
    )
