"""Who is admitted, who waits, in which order."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from batchyard.core.model import RoomLimit
from batchyard.engines.base import Launch
from batchyard.engines.process.rooms import Rooms


def a_launch(attempt_id: str, *rooms: RoomLimit, vcpu_milli: int = 1000, memory_mib: int = 100) -> Launch:
    return Launch(attempt_id, ("true",), {}, vcpu_milli, memory_mib, rooms=rooms)


def waiting(*launches: Launch) -> Rooms:
    rooms = Rooms()
    for launch in launches:
        rooms.wait(launch)
    return rooms


def ids(launches: Iterable[Launch]) -> list[str]:
    return [launch.attempt_id for launch in launches]


TWO_VCPUS = RoomLimit("environment e", 2000, None)
HOST = RoomLimit("host", None, 250)


def test_as_many_are_admitted_as_fit_in_the_order_in_which_they_came() -> None:
    rooms = waiting(*(a_launch(name, TWO_VCPUS) for name in "abc"))
    assert ids(rooms.admit()) == ["a", "b"]
    assert rooms.admit() == []
    assert list(rooms) == ["c"]


def test_each_room_has_to_hold_it() -> None:
    rooms = waiting(*(a_launch(name, TWO_VCPUS, HOST, vcpu_milli=500) for name in "abcd"))
    assert ids(rooms.admit()) == ["a", "b"]


def test_no_more_are_admitted_than_asked_for() -> None:
    rooms = waiting(*(a_launch(name) for name in "abc"))
    assert ids(rooms.admit(2)) == ["a", "b"]
    assert ids(rooms.admit(2)) == ["c"]


def test_what_has_left_makes_room() -> None:
    first, second = a_launch("a", TWO_VCPUS, vcpu_milli=2000), a_launch("b", TWO_VCPUS)
    rooms = waiting(first, second)
    assert ids(rooms.admit()) == ["a"]
    rooms.leave(first)
    assert ids(rooms.admit()) == ["b"]


def test_what_waits_is_not_overtaken_by_others_that_want_one_of_its_rooms() -> None:
    large = a_launch("large", TWO_VCPUS, HOST, memory_mib=300)
    rooms = waiting(large, a_launch("small", HOST), a_launch("elsewhere", RoomLimit("environment f", 1000, None)))
    assert ids(rooms.admit()) == ["elsewhere"]
    rooms.drop("large")
    assert ids(rooms.admit()) == ["small"]


def test_what_is_dropped_waits_no_more() -> None:
    rooms = waiting(a_launch("a"), a_launch("b"))
    assert rooms.drop("a")
    assert not rooms.drop("a")
    assert ("a" in rooms, "b" in rooms, len(rooms)) == (False, True, 1)
    assert ids(rooms.admit()) == ["b"]


def test_what_is_put_back_comes_first_and_takes_nothing() -> None:
    rooms = waiting(*(a_launch(name, TWO_VCPUS) for name in "abcd"))
    rooms.put_back(rooms.admit())
    assert list(rooms) == ["a", "b", "c", "d"]
    assert ids(rooms.admit()) == ["a", "b"]


launches = st.lists(
    st.tuples(st.sets(st.sampled_from("xyz")), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=12
)


@given(launches, st.data())
def test_it_does_what_looking_at_each_in_turn_would_do(
    wanted: list[tuple[set[str], int, int]], data: st.DataObject
) -> None:
    """Whatever comes and goes, against the rule in its plainest form."""
    rooms = Rooms()
    queue: list[Launch] = []
    running: list[Launch] = []
    for number, (names, vcpus, memory) in enumerate(wanted):
        launch = a_launch(
            str(number), *(RoomLimit(name, 4, 5) for name in sorted(names)), vcpu_milli=vcpus, memory_mib=memory
        )
        rooms.wait(launch)
        queue.append(launch)
        admitted = rooms.admit()
        assert admitted == plainly_admitted(queue, running)
        running += admitted
        queue = [each for each in queue if each not in admitted]
        if running and data.draw(st.booleans()):
            ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
            rooms.leave(ended)
    assert list(rooms) == ids(queue)


def plainly_admitted(queue: list[Launch], running: list[Launch]) -> list[Launch]:
    admitted: list[Launch] = []
    wanted_before: set[str] = set()
    for launch in queue:
        names = {room.name for room in launch.rooms}
        inside = {name: [each for each in running + admitted if name in {r.name for r in each.rooms}] for name in names}
        lacking = {
            name
            for name, each in inside.items()
            if sum(one.vcpu_milli for one in each) + launch.vcpu_milli > 4
            or sum(one.memory_mib for one in each) + launch.memory_mib > 5
        }
        wanted_before |= lacking
        if not lacking and not names & wanted_before:
            admitted.append(launch)
    return admitted
