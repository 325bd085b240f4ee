"""The faults of one simulation, drawn from its seed: when the server dies, what its disk, engine and clock do to it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from tests.faults.story import Story
from tests.faults.virtual import Calendar, WallClock

SITES = (
    "before read",
    "before commit",
    "after commit",
    "before launch",
    "after launch",
    "before stop",
    "after stop",
    "before forget",
    "after forget",
)
"""Where a plan may let the server die. A site is reached each time that the server gets there, over all its lives."""
CRASH = "the server is killed"
SUPERVISOR_DIES = "the supervisor dies"
LINK_BREAKS = "the link to the supervisor breaks"
MAX_FAULTS_SECONDS = 150.0
"""All faults begin before; then everything heals, and the system must come to rest."""


class Crash(SystemExit):
    """The server dies as by SIGKILL. It is no Exception, so nothing in the server takes it for an error."""


class Plan:
    """What goes wrong. With `crashes` it is that alone: (site, how manieth time it is reached)."""

    def __init__(
        self,
        seed: int,
        calendar: Calendar,
        clock: WallClock,
        story: Story,
        crashes: list[tuple[str, int]] | None = None,
    ) -> None:
        self._dice = random.Random(f"{seed}/faults")
        self._calendar = calendar
        self._clock = clock
        self._story = story
        self._is_armed = False
        self.reached: Counter[str] = Counter()
        self.clock_was_set = False
        self.downtime_seconds = 0.0
        """How long the server was down, or kept by its disk or its engine from doing anything."""
        self.disk_is_full = False
        self.commits_fail = False
        self.reads_fail = False
        self._disk_seconds = 0.0
        self._late_seconds = 0.0
        self._doubling = 0.0
        self._is_drawn = crashes is None
        self._at_sites = dict.fromkeys(crashes, CRASH) if crashes is not None else self._drawn_for_sites()
        self._others: dict[str, Callable[[], None]] = {}
        """The faults that others have to bring about, by name."""

    def _drawn_for_sites(self) -> dict[tuple[str, int], str]:
        """What happens when a site is reached for the so manieth time: faults in the thick of it."""
        dice = self._dice
        places = [(dice.choice(SITES), int(dice.expovariate(1 / 25)) + 1) for _ in range(dice.choice((0, 1, 3, 6, 10)))]
        return {place: dice.choice((CRASH, CRASH, CRASH, SUPERVISOR_DIES, LINK_BREAKS)) for place in places}

    # ---- what the simulation asks

    def reach(self, site: str) -> None:
        """The server is at a place where it may die. Raises Crash if it does."""
        if not self._is_armed:
            return
        self.reached[site] += 1
        fault = self._at_sites.get((site, self.reached[site]))
        if fault == CRASH:
            raise Crash(f"{site}, time {self.reached[site]}")
        if fault is not None:
            self._story.tell(f"{fault} ({site}, time {self.reached[site]})")
            self._others[fault]()

    def commit_seconds(self) -> float:
        """How long the next commit takes."""
        return self._dice.uniform(0.0005, 0.004) + self._disk_seconds * self._dice.random()

    def read_seconds(self) -> float:
        return self._dice.uniform(0.0001, 0.001) + self._disk_seconds * self._dice.random()

    def reconnect_seconds(self) -> float:
        """How long a server takes to connect to its engine again."""
        return self._dice.choice((0.05, 0.5, 20.0)) * self._dice.random() if self._is_armed else 0.1

    def report_seconds(self) -> float:
        """How late the next report of the engine arrives."""
        return self._late_seconds * self._dice.random()

    def doubles_report(self) -> bool:
        """Whether the next report comes a second time, some time later."""
        return self._dice.random() < self._doubling

    def down_seconds(self) -> float:
        """How long the server stays down, now that it has died."""
        seconds = self._dice.choice((0.01, 0.5, 5.0, 120.0)) * self._dice.random()
        self.downtime_seconds += seconds
        if self._is_armed and self._is_drawn and self._dice.random() < 0.5:
            # Troubles come together: the next one while the new server is still finding its way.
            fault = self._dice.choice((CRASH, SUPERVISOR_DIES, SUPERVISOR_DIES, LINK_BREAKS))
            at_seconds = seconds + self._dice.choice((0.01, 0.3)) * self._dice.random()
            self._calendar.after(at_seconds, lambda: self._told(fault, self._others[fault]))
        return seconds

    # ---- what it does by itself

    def arm(
        self,
        crash: Callable[[], None],
        lose_supervisor: Callable[[], None],
        drop_link: Callable[[], None],
        stop: Callable[[bool], None],
    ) -> None:
        """From now on things go wrong. The functions are the faults of others that a time brings."""
        self._is_armed = True
        self._others = {CRASH: crash, SUPERVISOR_DIES: lose_supervisor, LINK_BREAKS: drop_link}
        if not self._is_drawn:
            return
        dice = self._dice
        kinds: list[Callable[[], None]] = [
            *(lambda: self._told(CRASH, crash),) * 2,
            lambda: self._told(SUPERVISOR_DIES, lose_supervisor),
            *(lambda: self._told(LINK_BREAKS, drop_link),) * 2,
            lambda: self._told("the server is asked to end", lambda: stop(False)),
            lambda: self._told("the server is asked to end with its jobs", lambda: stop(True)),
            self._fill_disk,
            self._break_commits,
            self._break_reads,
            self._slow_disk,
            self._late_reports,
            self._double_reports,
            self._set_clock,
        ]
        for _ in range(dice.choice((0, 2, 5, 10, 20))):
            self._calendar.after(dice.uniform(0, MAX_FAULTS_SECONDS), dice.choice(kinds))

    def heal(self) -> None:
        """Nothing more goes wrong."""
        self._story.tell("all faults are over")
        self._is_armed = False
        self.disk_is_full = self.commits_fail = self.reads_fail = False
        self._disk_seconds = self._late_seconds = self._doubling = 0.0

    def _told(self, text: str, fault: Callable[[], None]) -> None:
        if self._is_armed:
            self._story.tell(text)
            fault()

    def _for_a_while(self, text: str, name: str, value: object) -> None:
        if not self._is_armed:
            return
        seconds = self._dice.choice((1.0, 10.0, 60.0)) * self._dice.random()
        self.downtime_seconds += seconds
        self._story.tell(f"{text} for {seconds:.1f} s")
        setattr(self, name, value)
        self._calendar.after(seconds, lambda: setattr(self, name, type(value)()))

    def _fill_disk(self) -> None:
        self._for_a_while("the disk is full", "disk_is_full", True)

    def _break_commits(self) -> None:
        self._for_a_while("commits fail", "commits_fail", True)

    def _break_reads(self) -> None:
        self._for_a_while("reads fail", "reads_fail", True)

    def _slow_disk(self) -> None:
        self._for_a_while("the disk is slow", "_disk_seconds", self._dice.choice((0.1, 3.0)))

    def _late_reports(self) -> None:
        self._for_a_while("reports come late", "_late_seconds", self._dice.choice((0.5, 30.0)))

    def _double_reports(self) -> None:
        self._for_a_while("reports come twice", "_doubling", self._dice.choice((0.3, 1.0)))

    def _set_clock(self) -> None:
        if self._is_armed:
            seconds = self._dice.choice((2, 60, 4000)) * self._dice.uniform(-1, 1)
            self._story.tell(f"the clock jumps by {seconds:.1f} s")
            self._clock.offset_ms += int(seconds * 1000)
            self.clock_was_set = True
