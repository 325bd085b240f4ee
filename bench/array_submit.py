"""SubmitJob of one array of 10,000 children: how long until it is on disk and answered."""

from __future__ import annotations

from collections.abc import Iterator

from bench import harness
from bench.figures import Figure
from bench.harness import Options

SIZE = 10_000
GOAL_MS = 20.0


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
        content = harness.request(yard.endpoint_url, "/v1/submitjob", body)
        harness.send_load(yard.endpoint_url, content, connections=1, count=1)
        count = 50 if options.quick else 500
        tally = harness.send_load(yard.endpoint_url, content, connections=1, count=count)
    yield Figure(
        f"SubmitJob, array of {SIZE:,}",
        "ms",
        tuple(tally.latencies_ms),
        goal=GOAL_MS,
        lower_is_better=True,
        judged_at=99,
        note="one client, each call after the one before",
    )
