"""Small jobs behind a gang that waits: they run if they cannot delay it, and only then."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.core.inputs import HostSized
from batchyard.core.schedule import backfill
from tests.profiles import examples
from tests.unit.core.builders import Scene

MARGIN_SECONDS = 60
"""More than the grace and the allowance for the start that the bounds contain."""


def waiting_gang(vcpus: int = 4, nodes: int = 4, used: float = 1, timeout_seconds: int | None = 600) -> Scene:
    """Some vCPUs are in use, until a time that is known or isn't, and a gang waits for more than the others."""
    scene = Scene(vcpus=vcpus)
    scene.submit("before", vcpus=used, timeout_seconds=timeout_seconds)
    scene.start("before")
    scene.submit_gang("gang", nodes)
    assert scene.status("gang") == "RUNNABLE"
    return scene


def placed(scene: Scene, *unit_ids: str) -> list[str]:
    return [unit_id for unit_id in unit_ids if scene.status(unit_id) == "STARTING"]


def test_a_job_that_ends_in_time_goes_before_the_gang() -> None:
    scene = waiting_gang()
    scene.submit("short", timeout_seconds=600 - MARGIN_SECONDS)
    assert placed(scene, "gang", "short") == ["short"]


def test_a_job_that_may_end_too_late_waits_its_turn() -> None:
    scene = waiting_gang()
    scene.submit("long", timeout_seconds=600)
    scene.submit("endless")
    assert placed(scene, "long", "endless") == []


def test_the_grace_of_the_stop_counts() -> None:
    scene = waiting_gang()
    scene.submit("patient", timeout_seconds=600 - MARGIN_SECONDS, stop_grace_seconds=120)
    assert placed(scene, "patient") == []


def test_a_job_that_fits_beside_the_gang_may_take_its_time() -> None:
    scene = waiting_gang(vcpus=6, nodes=5, used=2)
    scene.submit("small", vcpus=0.5)
    scene.submit("second", vcpus=0.5)
    scene.submit("third", vcpus=0.5)
    scene.submit("also", vcpus=0.5)
    assert placed(scene, "small", "second", "third", "also") == ["small", "second"]
    scene.exit("before")
    assert placed(scene, "gang") == ["gang"]


def test_a_job_that_fits_now_and_not_beside_the_gang_waits() -> None:
    scene = waiting_gang(vcpus=4, nodes=4)
    scene.submit("endless", vcpus=1)
    assert placed(scene, "endless") == []


def test_without_a_timeout_before_the_gang_nothing_goes_first() -> None:
    scene = waiting_gang(timeout_seconds=None)
    scene.submit("short", timeout_seconds=1)
    assert placed(scene, "short") == []


def test_an_attempt_that_hasnt_started_yet_is_bounded_too() -> None:
    scene = Scene(vcpus=4)
    scene.submit("before", timeout_seconds=600)
    scene.submit_gang("gang", 4)
    scene.submit("short", timeout_seconds=600 - MARGIN_SECONDS)
    assert placed(scene, "before", "short") == ["before", "short"]


def test_the_order_of_submission_holds_among_those_that_go_first() -> None:
    scene = waiting_gang()
    for name in "abcd":
        scene.submit(name, timeout_seconds=60)
    assert placed(scene, *"abcd") == ["a", "b", "c"]


def test_children_of_an_array_go_first_as_far_as_there_is_room() -> None:
    scene = waiting_gang()
    scene.submit("array", array=5, timeout_seconds=60)
    assert placed(scene, *(f"array:{index}" for index in range(5))) == ["array:0", "array:1", "array:2"]


def test_a_small_gang_may_go_before_a_large_one() -> None:
    scene = waiting_gang()
    scene.submit_gang("pair", 2, timeout_seconds=60)
    assert placed(scene, "gang", "pair") == ["pair"]


def test_a_lesser_queue_backfills_too() -> None:
    scene = waiting_gang()
    scene.queue("lesser", priority=0)
    scene.submit("short", queue="lesser", timeout_seconds=60)
    scene.submit("endless", queue="lesser")
    assert placed(scene, "short", "endless") == ["short"]


def test_what_goes_first_elsewhere_on_the_same_host_counts() -> None:
    scene = waiting_gang()
    scene.environment("other", 4)
    scene.queue("lesser", priority=0, environments=("other",))
    scene.submit("endless", queue="lesser")
    assert placed(scene, "endless") == []


def test_another_host_is_nobodys_business() -> None:
    scene = waiting_gang()
    scene.tell(HostSized("far", 4000, 8192))
    scene.environment("other", 4, host="far")
    scene.queue("lesser", priority=0, environments=("other",))
    scene.submit("endless", queue="lesser")
    assert placed(scene, "endless") == ["endless"]


def test_a_single_job_that_does_not_fit_still_blocks_its_queue() -> None:
    scene = Scene(vcpus=4)
    scene.submit("before", timeout_seconds=600)
    scene.submit("large", vcpus=4)
    scene.submit("short", timeout_seconds=60)
    assert placed(scene, "large", "short") == []


def test_a_pass_looks_only_so_far() -> None:
    scene = waiting_gang()
    for number in range(backfill.LOOK_AHEAD):
        scene.submit(f"long{number}")
    scene.submit("short", timeout_seconds=60)
    assert placed(scene, "short") == []


def test_memory_is_kept_for_the_gang_too() -> None:
    scene = Scene(vcpus=8, memory_mib=1000)
    scene.submit("before", memory_mib=500, timeout_seconds=600)
    scene.start("before")
    scene.submit_gang("gang", 6)
    scene.submit("large", memory_mib=450)
    scene.submit("small", memory_mib=350)
    assert placed(scene, "gang", "large", "small") == ["small"]
    scene.exit("before")
    assert placed(scene, "gang") == ["gang"]


JOBS = st.lists(
    st.tuples(st.sampled_from([0.5, 1, 2, 3]), st.integers(60, 900), st.floats(0.1, 1), st.integers(0, 60)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=examples(60), deadline=None)
@given(before=JOBS, behind=JOBS, nodes=st.integers(2, 4))
def test_the_gang_never_starts_later_than_promised(before: Any, behind: Any, nodes: int) -> None:
    """Whatever is submitted behind it, and however long it runs within its timeout."""
    scene = Scene(vcpus=4)
    ends: dict[str, int] = {}

    def settle() -> None:
        """Start what was placed, and note when it will end by itself."""
        for unit_id, share in list(shares.items()):
            if scene.status(unit_id) == "STARTING":
                scene.start(unit_id)
                seconds = int(scene.yard.jobs[unit_id].terms.timeout_seconds or 0)
                ends[unit_id] = scene.now_ms + int(share * seconds * 1000)

    shares: dict[str, float] = {}
    for number, (vcpus, timeout, share, _) in enumerate(before):
        shares[f"before{number}"] = share
        scene.submit(f"before{number}", vcpus=vcpus, timeout_seconds=timeout)
    settle()
    while any(scene.status(name) == "RUNNABLE" for name in shares):
        _end_next(scene, ends)
        settle()
    scene.submit_gang("gang", nodes)
    promised_ms = None
    waiting = list(enumerate(behind))
    while scene.status("gang") == "RUNNABLE":
        if promised_ms is None:
            promised_ms = max(
                attempt.started_at_ms + (unit.job.terms.timeout_seconds + unit.job.terms.stop_grace_seconds) * 1000
                for unit in scene.yard.units_by_attempt.values()
                if (attempt := unit.attempts[-1]).started_at_ms and unit.job.terms.timeout_seconds
            )
        if waiting:
            number, (vcpus, timeout, share, pause) = waiting.pop(0)
            shares[f"behind{number}"] = share
            scene.submit(f"behind{number}", vcpus=vcpus, timeout_seconds=timeout)
            settle()
            next_end_ms = min(ends.values(), default=scene.now_ms)
            if scene.now_ms + pause * 1000 < next_end_ms:
                scene.wait(pause)
                continue
        _end_next(scene, ends)
        settle()
    assert promised_ms is None or scene.now_ms <= promised_ms


def _end_next(scene: Scene, ends: dict[str, int]) -> None:
    unit_id = min(ends, key=lambda each: ends[each])
    scene.now_ms = max(scene.now_ms, ends.pop(unit_id))
    scene.exit(unit_id)
