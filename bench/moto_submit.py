"""SubmitJob over HTTP, beside moto_server as it comes: one that really runs what is submitted, in containers.

Every call of moto's starts a thread that sees to one container, as fast as the daemon makes them; nothing bounds how
many there are at once. Batchyard's jobs only queue, as in `submit_rate`, where moto is told to run nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import harness
from bench.figures import Figure, Skipped, per_pair
from bench.harness import Options
from bench.peers import PeerMissing, moto
from bench.submit_rate import CLIENTS
from tests.engine import dockerd
from tests.engine.dockerd import IMAGE

GOAL_TIMES_MOTO = 20.0
NAME = "SubmitJob of moto_server with containers"


def measure(options: Options) -> Iterator[Figure | Skipped]:
    count, peer_count, repeats = (1000, 50, 1) if options.quick else (5000, 300, 3)
    if not dockerd.can_run():
        yield Skipped(NAME, "run as root, with docker.io and busybox-static installed")
        return
    ours, theirs = [], []
    try:
        with harness.server() as yard:
            harness.make_queue(yard, "waiting", vcpus=1, places_jobs=False)
            body = {"jobName": "bench", "jobQueue": "waiting", "jobDefinition": harness.register(yard, "true")}
            content = harness.request(yard.endpoint_url, "/v1/submitjob", body)
            harness.send_load(yard.endpoint_url, content, connections=CLIENTS, count=500)
            for _ in range(repeats):
                tally = harness.send_load(yard.endpoint_url, content, connections=CLIENTS, count=count)
                ours.append(count / tally.seconds)
                theirs.append(_moto_rate(peer_count))
    except PeerMissing as missing:
        yield Skipped(NAME, str(missing))
        return
    yield Figure("moto_server as it comes, SubmitJob", "jobs/s", tuple(theirs), note="jobs run in containers meanwhile")
    yield Figure("SubmitJob: Batchyard / moto as it comes", "x", per_pair(ours, theirs), goal=GOAL_TIMES_MOTO)


def _moto_rate(count: int) -> float:
    """Jobs a second of a moto_server and a daemon that are started for this: nothing is left for the next turn."""
    with moto.daemon() as daemon, moto.running(daemon.host, IMAGE) as peer:
        body = {"jobName": "bench", "jobQueue": peer.queue, "jobDefinition": peer.definition}
        content = harness.request(peer.endpoint_url, "/v1/submitjob", body)
        harness.send_load(peer.endpoint_url, content, connections=1, count=2)
        return count / harness.send_load(peer.endpoint_url, content, connections=CLIENTS, count=count).seconds
