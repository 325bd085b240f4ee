"""The supervisor's attempts: launches, stops, ends and what is remembered of them. Knows no sockets.

What is told to the server is in the journal first, save when the journal can't be written: then the telling goes on,
because running jobs must not suffer from a full disk, and launches wait, because an attempt that is not in the journal
could be launched a second time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from batchyard import crashpoints
from batchyard.core.inputs import AttemptExited, AttemptLost, AttemptRecalled, AttemptStarted, Report
from batchyard.core.model import Usage
from batchyard.core.reasons import cannot_start
from batchyard.engines.base import Held, Launch
from batchyard.engines.process import cgroups, processes
from batchyard.engines.process.attempt import Attempt
from batchyard.engines.process.brevity import Brevity
from batchyard.engines.process.cgroups import Group, NoTree, Tree
from batchyard.engines.process.journal import Ended, Forgotten, Journal, Launching, Opened, Record, Spawned, Story
from batchyard.engines.process.output import Output
from batchyard.engines.process.poller import Poller
from batchyard.engines.process.rooms import Place, Rooms
from batchyard.engines.process.spawn import CannotStart, Spawner, printable
from batchyard.engines.process.strays import Strays
from batchyard.engines.process.sweeper import Sweeper
from batchyard.engines.process.timers import Timers
from batchyard.engines.process.workfolders import WorkFolders
from batchyard.logframes import checked_attempt_id

SPAWNS_PER_TURN = 8
"""Between two looks at everything else: about 5 ms."""

JOURNAL_RETRY_SECONDS = 1.0
JOIN_SECONDS = 0.25
"""From one joining of those that were thought brief to the next. Each takes some ten milliseconds, for however many."""

FIRST_WAIT_SECONDS = 0.001
MAX_WAIT_SECONDS = 0.25
MAX_GROUP_WAIT_SECONDS = 2.0
"""Without a control group only a number tells whether a process group is there, and it also counts zombies, for which
nobody may care. All members have had their SIGKILL long before."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Folders(Struct, frozen=True):
    """Where the supervisor keeps things."""

    engine: Path
    logs: Path

    @property
    def work(self) -> Path:
        return self.engine / "work"

    @property
    def journal(self) -> Path:
        return self.engine / "journal"


class Runner:
    """All attempts from launch to forget. `reports` is what is to be told; whoever tells it empties it."""

    def __init__(
        self,
        folders: Folders,
        opened: Opened,
        story: Story,
        make_tree: Callable[[], Tree | NoTree],
        poller: Poller,
        timers: Timers,
        log: Callable[[str], None],
    ) -> None:
        self.reports: list[Report] = []
        self.base_environment: dict[str, str] = {}
        self._opened = opened
        self._poller = poller
        self._timers = timers
        self._log = log
        self._logs_dir = folders.logs
        self._spawner = Spawner()
        self.sweeper = Sweeper(log)
        self._folders = WorkFolders(str(folders.work), opened.incarnation, self.sweeper)
        self._rooms = Rooms()
        self._all_wait = False
        """None of the queued launches fits at the moment."""
        self._live: dict[str, Attempt] = {}
        self._by_pid: dict[int, Attempt] = {}
        self._brevity = Brevity()
        self._gone: list[tuple[Attempt, int]] = []
        """Nothing of them runs any more; and since when."""
        self._ended = dict(story.ended)
        self._old_openings = [each for each in story.openings if each.boot_id == opened.boot_id]
        self._strays = Strays(list(story.open.values()), opened.boot_id, log)
        self._is_closed = False
        self._journal_broken = False
        self._journal = Journal(folders.journal, self._everything())
        # Only now that the journal has their names may control groups be made.
        self._tree = make_tree()
        self._search_strays(FIRST_WAIT_SECONDS)

    # ---- what the server asks for

    def launch(self, launch: Launch) -> None:
        """Start an attempt soon, unless it is known already."""
        attempt_id = launch.attempt_id
        known = attempt_id in self._rooms or attempt_id in self._live or attempt_id in self._ended
        if not (known or self._is_closed or attempt_id in self._strays.attempt_ids):
            self._rooms.wait(launch)
            self._all_wait = False

    def recall(self, attempt_ids: list[str]) -> None:
        """Drop those of the launches that have not begun."""
        for attempt_id in attempt_ids:
            if self._rooms.drop(attempt_id):
                # Those behind it waited because it did.
                self._all_wait = False
                self.reports.append(AttemptRecalled(attempt_id, now_ms()))

    def stop(self, attempt_id: str, grace_seconds: float) -> None:
        """SIGTERM now and SIGKILL after the grace. A second stop can only shorten the first one's grace."""
        if self._rooms.drop(attempt_id):
            self._all_wait = False
            self._not_started(attempt_id, "stopped before it was started")
        attempt = self._live.get(attempt_id)
        if attempt is None or attempt.exit is not None:
            return
        kill_at = time.monotonic() + grace_seconds
        if attempt.kill_at is None:
            attempt.terminate()
        elif attempt.kill_at <= kill_at:
            return
        attempt.kill_at = kill_at
        self._timers.after(grace_seconds, lambda: self._kill_if_due(attempt))

    def stop_all(self, *, report_queued: bool) -> None:
        """Stop every attempt with its own grace and launch no more. Launches that wait are forgotten when nobody is to
        be told: their server will give them to the next supervisor."""
        self._is_closed = True
        for attempt_id in list(self._rooms):
            if report_queued:
                self.stop(attempt_id, 0)
            else:
                self._rooms.drop(attempt_id)
        for attempt in list(self._live.values()):
            self.stop(attempt.attempt_id, attempt.grace_seconds)

    def forget(self, attempt_ids: list[str]) -> None:
        """Drop what ended. What has not ended is kept: it must not be launched again."""
        if crashpoints.ARMED:
            crashpoints.reach("supervisor.before_forget")
        forgotten = [attempt_id for attempt_id in attempt_ids if self._ended.pop(attempt_id, None) is not None]
        if forgotten:
            self._journal.add(Forgotten(forgotten))
            if crashpoints.ARMED:
                crashpoints.reach("supervisor.after_forget")

    def holding(self) -> list[Held]:
        going_on = [*self._rooms, *self._live, *self._strays.attempt_ids]
        return [Held(each, ended=False) for each in going_on] + [Held(each, ended=True) for each in self._ended]

    def reports_of_held(self) -> list[Report]:
        """Everything that was ever to be told about what is held."""
        reports: list[Report] = [AttemptStarted(each.attempt_id, each.spawned.at_ms) for each in self._live.values()]
        for ended in self._ended.values():
            if ended.started_at_ms is not None:
                reports.append(AttemptStarted(ended.report.attempt_id, ended.started_at_ms))
            reports.append(ended.report)
        return reports

    @property
    def limits(self) -> str:
        return self._tree.limits

    @property
    def is_busy(self) -> bool:
        """Whether anything is running or about to."""
        return bool(self._rooms or self._live or self._strays.attempt_ids)

    @property
    def has_queued(self) -> bool:
        """Whether launches wait until they fit."""
        return bool(self._rooms)

    @property
    def has_news(self) -> bool:
        """Whether there is anything to put into the journal, or to tell."""
        return bool(self.reports) or (self._journal.has_waiting and not self._journal_broken)

    @property
    def has_launches(self) -> bool:
        """Whether `spawn_some` has something to do that it can do."""
        return bool(self._rooms) and not self._all_wait and not self._journal_broken

    # ---- starting

    def spawn_some(self) -> None:
        """Start the launches that have waited longest, of those that fit, a few of them."""
        batch = self._rooms.admit(SPAWNS_PER_TURN)
        if not batch:
            self._all_wait = True
            return
        if crashpoints.ARMED:
            crashpoints.reach("supervisor.before_journal")
        is_brief = self._brevity.is_expected
        grouped = self._with_groups(batch, is_brief=is_brief)
        try:
            self._journal.write(
                [Launching(launch.attempt_id, group.name if group else "") for launch, group in grouped]
            )
        except OSError as error:
            for _, group in grouped:
                if group is not None:
                    self._remove_group(group, FIRST_WAIT_SECONDS)
            self._rooms.put_back([launch for launch, _ in grouped])
            self._journal_failed(error)
            return
        if crashpoints.ARMED:
            crashpoints.reach("supervisor.after_journal")
        for launch, group in grouped:
            self._start(launch, group, is_brief=is_brief)

    def _with_groups(self, launches: Sequence[Launch], *, is_brief: bool) -> list[tuple[Launch, Group | None]]:
        """Launches with the control groups to start them in, save those that can't be started, which is told."""
        grouped: list[tuple[Launch, Group | None]] = []
        for launch in launches:
            try:
                group = self._tree.create(checked_attempt_id(launch.attempt_id), is_brief=is_brief)
                grouped.append((launch, group))
            except (ValueError, OSError) as error:
                self._leave_rooms(launch)
                self._not_started(launch.attempt_id, str(error))
        return grouped

    def _start(self, launch: Launch, group: Group | None, *, is_brief: bool) -> None:
        attempt_id = launch.attempt_id
        output: Output | None = None
        folder = ""
        try:
            output = Output(attempt_id, self._logs_dir)
            folder = self._folders.take()
            marker = {processes.MARKER: f"{self._opened.incarnation}/{attempt_id}"}
            environment = {**self.base_environment, **launch.environment, **marker}
            since_ticks = processes.ticks_now()
            pid = self._spawner.spawn(launch.command, environment, folder, output.job_fd, group)
        except (CannotStart, ValueError, OSError) as error:
            if output is not None:
                output.close()
            if group is not None:
                self._remove_group(group, FIRST_WAIT_SECONDS)
            if folder:
                self._folders.give_back(folder, is_deserted=True)
            self._leave_rooms(launch)
            self._not_started(attempt_id, str(error))
            return
        if crashpoints.ARMED:
            crashpoints.reach("supervisor.after_spawn")
        output.close_job_end()
        spawned = Spawned(attempt_id, pid, since_ticks, processes.ticks_now(), now_ms())
        attempt = Attempt(spawned, output, group, folder, launch)
        self._live[attempt_id] = self._by_pid[pid] = attempt
        self._journal.add(spawned)
        self.reports.append(AttemptStarted(attempt_id, spawned.at_ms))
        self._poller.watch(output.fd, lambda _events: self._pump(output))
        if group is not None:
            self._limit(attempt, group, launch)
            if is_brief:
                self._expect_end(attempt)

    def _limit(self, attempt: Attempt, group: Group, launch: Launch) -> None:
        try:
            group.limit(launch.memory_mib, launch.vcpu_milli)
        except cgroups.MemoryOverrun:
            attempt.overran()
        except OSError as error:
            self._log(f"attempt {attempt.attempt_id} runs without some limit: {error}")

    def _expect_end(self, attempt: Attempt) -> None:
        if not self._brevity.awaits_ends:
            self._timers.after(JOIN_SECONDS, self._join_lasting)
        self._brevity.began(attempt, time.monotonic())

    def _join_lasting(self) -> None:
        for attempt in self._brevity.take_lasting(time.monotonic()):
            try:
                assert attempt.group is not None
                attempt.group.join_all()
            except OSError as error:
                self._log(f"attempt {attempt.attempt_id} runs without its share of the CPUs: {error}")
        if self._brevity.awaits_ends:
            self._timers.after(JOIN_SECONDS, self._join_lasting)

    def _not_started(self, attempt_id: str, detail: str) -> None:
        reason = cannot_start(printable(detail, 300))
        self._end(Ended(AttemptExited(attempt_id, now_ms(), None, reason, started=False)))

    # ---- running

    def _pump(self, output: Output) -> None:
        if output.pump() == 0:
            self._close_output(output)

    def _close_output(self, output: Output) -> None:
        if output.fd >= 0:
            self._poller.unwatch(output.fd)
        output.close()

    def _kill_if_due(self, attempt: Attempt) -> None:
        is_due = attempt.kill_at is not None and attempt.kill_at <= time.monotonic()
        if is_due and attempt.exit is None and not attempt.killed:
            try:
                attempt.kill()
            except OSError as error:
                self._log(f"attempt {attempt.attempt_id}: its control group can't be killed: {error}")

    # ---- ending

    def reap(self) -> None:
        """Take leave of every child that has ended. Each is looked at first and waited for last: until then its number
        is its own, and its process group's."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            attempt = self._by_pid.pop(ended.si_pid, None)
            if attempt is None:
                os.waitpid(ended.si_pid, 0)
                continue
            attempt.reap()
            if crashpoints.ARMED:
                crashpoints.reach("supervisor.after_exit")
            at_ms = now_ms()
            self._brevity.ended(attempt.attempt_id, (at_ms - attempt.spawned.at_ms) / 1000)
            self._finish_when_gone(attempt, FIRST_WAIT_SECONDS, at_ms)

    def _finish_when_gone(self, attempt: Attempt, wait_seconds: float, at_ms: int) -> None:
        """A container ends with its first process; what it left behind here is killed, and waited for."""
        try:
            gone = attempt.is_gone()
        except OSError as error:
            self._log(f"attempt {attempt.attempt_id}: its control group can't be read: {error}")
            gone = True
        if gone or (attempt.group is None and now_ms() - at_ms > MAX_GROUP_WAIT_SECONDS * 1000):
            self._leave_rooms(attempt.place)
            self._gone.append((attempt, at_ms))
            return
        longer = min(2 * wait_seconds, MAX_WAIT_SECONDS)
        self._timers.after(wait_seconds, lambda: self._finish_when_gone(attempt, longer, at_ms))

    def finish_gone(self) -> None:
        """Tidy up after the attempts that are over. The next ones are spawned before, and run meanwhile."""
        for attempt, at_ms in self._gone:
            self._finish(attempt, at_ms)
        self._gone.clear()

    def _finish(self, attempt: Attempt, at_ms: int) -> None:
        if crashpoints.ARMED:
            crashpoints.reach("supervisor.before_log_close")
        output = attempt.output
        output.drain()
        self._close_output(output)
        if output.dropped_bytes:
            self._log(f"attempt {attempt.attempt_id}: {output.dropped_bytes} bytes of output lost: {output.error}")
        code, reason, usage = self._result(attempt)
        if attempt.group is not None:
            self._remove_group(attempt.group, FIRST_WAIT_SECONDS)
        del self._live[attempt.attempt_id]
        self._folders.give_back(attempt.folder, is_deserted=attempt.group is not None)
        report = AttemptExited(attempt.attempt_id, at_ms, code, reason, usage=usage)
        self._end(Ended(report, attempt.spawned.at_ms))

    def _result(self, attempt: Attempt) -> tuple[int, str | None, Usage]:
        try:
            return attempt.result(attempt.group)
        except OSError as error:
            # As when all files that may be open are: the others must not end for what one of them used.
            self._log(f"attempt {attempt.attempt_id}: its control group can't be read: {error}")
            return attempt.result(None)

    def _leave_rooms(self, place: Place | Launch) -> None:
        self._rooms.leave(place)
        self._all_wait = False

    def _end(self, ended: Ended) -> None:
        self._ended[ended.report.attempt_id] = ended
        self._journal.add(ended)
        self.reports.append(ended.report)

    def _remove_group(self, group: Group, wait_seconds: float) -> None:
        try:
            if group.remove():
                return
        except OSError as error:
            self._log(f"a control group stays: {error}")
            return
        longer = min(2 * wait_seconds, MAX_WAIT_SECONDS)
        self._timers.after(wait_seconds, lambda: self._remove_group(group, longer))

    # ---- what earlier supervisors left

    def _search_strays(self, wait_seconds: float) -> None:
        for gone in self._strays.search():
            started_at_ms = gone.spawned.at_ms if gone.spawned is not None else None
            self._end(Ended(AttemptLost(gone.attempt_id, now_ms()), started_at_ms))
        if self._strays.attempt_ids:
            longer = min(2 * wait_seconds, MAX_WAIT_SECONDS)
            self._timers.after(wait_seconds, lambda: self._search_strays(longer))
            return
        self._folders.sweep_others()
        for opened in self._old_openings:
            try:
                cgroups.remove_left(opened.cgroup_dirs)
            except OSError as error:
                self._log(f"control groups of an earlier supervisor stay: {error}")
        self._old_openings = []

    # ---- the journal

    def _everything(self) -> Iterator[Record]:
        """The records that say all that is to be remembered."""
        for stray in self._strays.open():
            yield stray.opened
            yield from stray.records()
        yield self._opened
        for attempt in self._live.values():
            yield Launching(attempt.attempt_id, attempt.group.name if attempt.group else "")
            yield attempt.spawned
        yield from self._ended.values()

    def settle(self) -> None:
        """Bring the journal up to date; afterwards `reports` may be told."""
        if self._journal_broken:
            return
        try:
            if self._journal.is_bloated:
                self._journal.compact(self._everything())
            self._journal.flush()
        except OSError as error:
            self._journal_failed(error)

    def _journal_failed(self, error: OSError) -> None:
        if not self._journal_broken:
            self._journal_broken = True
            self._log(f"the journal can't be written, launches wait: {error}")
        self._timers.after(JOURNAL_RETRY_SECONDS, self._retry_journal)

    def _retry_journal(self) -> None:
        self._journal_broken = False
        self.settle()
        if not self._journal_broken:
            self._log("the journal is tried again")

    def close(self) -> None:
        """The last thing: nothing runs any more."""
        self.settle()
        self._journal.close()
        self._tree.close()
